#include "data/store/prepare.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/output.h"
#include "data/store/preparation.h"
#include "data/store/token_store.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "data/tokenizer/tokenizer_training.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class PrepareTest : public DataTest {
 protected:
  PrepareOptions Options(const std::string& corpus, const std::string& output) {
    PrepareOptions options;
    options.source.paths = {corpus};
    options.source.document_separator = "\n\n";
    options.output_dir = Path(output);
    options.val_fraction = 0.1;
    options.num_threads = 2;
    options.progress = false;
    return options;
  }

  std::string WriteCorpus(int documents) {
    std::string text;
    for (int i = 0; i < documents; ++i) {
      absl::StrAppend(&text, i > 0 ? "\n\n" : "", "Chapter ", i, "\n",
                      std::string(1 + i % 90, 'x'));
    }
    return WriteText("corpus.txt", text);
  }

  static std::vector<std::string> ReadDocuments(const std::string& path) {
    const auto store = TokenStore::Open(path);
    EXPECT_TRUE(store.ok()) << store.status();
    EXPECT_TRUE((*store)->Verify().ok());
    const std::unique_ptr<Tokenizer> tokenizer = *(*store)->MakeStoreTokenizer();
    std::vector<std::string> documents;
    const absl::Span<const int64_t> offsets = (*store)->document_offsets();
    for (size_t d = 0; d + 1 < offsets.size(); ++d) {
      std::vector<int32_t> tokens(offsets[d + 1] - offsets[d]);
      EXPECT_TRUE((*store)->Read(offsets[d], offsets[d + 1], tokens.data()).ok());
      EXPECT_EQ(tokens.back(), tokenizer->eos_id());
      documents.push_back(tokenizer->Decode(tokens));
    }
    return documents;
  }
};

TEST_F(PrepareTest, EveryDocumentGoesToOneSplit) {
  const auto result = PrepareStore(Options(WriteCorpus(500), "out"));
  ASSERT_TRUE(result.ok()) << result.status();
  const std::vector<std::string> train = ReadDocuments(result->train_path);
  const std::vector<std::string> val = ReadDocuments(result->val_path);
  EXPECT_EQ(static_cast<int64_t>(train.size()), result->train_documents);
  EXPECT_EQ(static_cast<int64_t>(val.size()), result->val_documents);
  EXPECT_GT(val.size(), 20u);
  EXPECT_LT(val.size(), 90u);
  size_t t = 0, v = 0;
  for (int i = 0; i < 500; ++i) {  // in order, in one of the two
    const std::string document = absl::StrCat("Chapter ", i, "\n", std::string(1 + i % 90, 'x'));
    if (t < train.size() && train[t] == document) {
      ++t;
    } else {
      ASSERT_LT(v, val.size());
      ASSERT_EQ(val[v++], document);
    }
  }
  EXPECT_GT(result->tokens_per_second, 0);
  EXPECT_TRUE(absl::StrContains(result->ToString(), "tokens/s")) << result->ToString();
}

TEST_F(PrepareTest, EveryDocumentMayBeginWithBos) {
  // The second one comes in several pieces.
  const std::string corpus =
      WriteText("corpus.txt", absl::StrCat("one\n\n", std::string(3 << 20, 'x'), "\n\nthree"));
  PrepareOptions options = Options(corpus, "out");
  options.val_fraction = 0;
  const auto before = PrepareStore(options);
  ASSERT_TRUE(before.ok()) << before.status();
  const std::vector<std::string> documents = ReadDocuments(before->train_path);
  EXPECT_FALSE(absl::StrContains(*ReadStorePreparation(before->train_path), "add_bos"));
  options.source.add_bos = true;
  std::vector<std::string> notes;
  EXPECT_TRUE(absl::StrContains(CheckPrepared(options, *MakeByteTokenizer(), &notes).message(),
                                "add_bos: it was made with none, not true"));
  for (const int64_t shard_bytes : {0, 1 << 20}) {
    options.shard_bytes = shard_bytes;
    options.output_dir = Path(shard_bytes == 0 ? "out" : "shards");
    const auto result = PrepareStore(options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(CheckPrepared(options, *MakeByteTokenizer(), &notes).ok());
    EXPECT_EQ(ReadDocuments(result->train_path), documents);
    const auto store = *TokenStore::Open(result->train_path);
    std::vector<int32_t> tokens(store->num_tokens());
    ASSERT_TRUE(store->Read(0, store->num_tokens(), tokens.data()).ok());
    EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 256), 3);
    for (size_t d = 0; d < 3; ++d) EXPECT_EQ(tokens[store->document_offsets()[d]], 256);
  }
  options.source.add_bos = false;
  EXPECT_TRUE(absl::StrContains(PrepareStore(options).status().message(),
                                "add_bos: it was made with true, not none"));
}

TEST_F(PrepareTest, ABosThatTheTextHasIsNotDoubled) {
  WriteText("tokenizer.json", R"({"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false,
      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": null, "decoder": null,
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
    "model": {"type": "BPE", "dropout": null, "unk_token": null,
      "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
      "byte_fallback": false, "vocab": {"<s>": 0, "a": 1, "b": 2}, "merges": []}})");
  PrepareOptions options = Options(WriteText("corpus.txt", "ab\n\n<s>ba\n\nb"), "out");
  options.tokenizer = Path("tokenizer.json");
  options.val_fraction = 0;
  options.source.add_bos = true;
  const auto result = PrepareStore(options);
  ASSERT_TRUE(result.ok()) << result.status();
  const auto store = *TokenStore::Open(result->train_path);
  std::vector<int32_t> tokens(store->num_tokens());
  ASSERT_TRUE(store->Read(0, store->num_tokens(), tokens.data()).ok());
  EXPECT_EQ(tokens, std::vector<int32_t>({0, 1, 2, 0, 2, 1, 0, 2}));
  options.tokenizer_settings.bos = "none";
  EXPECT_TRUE(absl::StrContains(PrepareStore(options).status().message(),
                                "has no bos; name it by tokenizer.bos, or leave add_bos out"));
}

TEST_F(PrepareTest, TheStoresDoNotDependOnTheNumberOfThreads) {
  std::string text;  // several jobs, one document in several pieces
  for (int i = 0; i < 60; ++i)
    absl::StrAppend(&text, "Chapter ", i, "\n", std::string(30'000, 'y'), "\n\n");
  absl::StrAppend(&text, std::string(1'500'000, 'z'));
  const std::string corpus = WriteText("large.txt", text);
  std::vector<std::string> fingerprints;
  for (const int threads : {1, 2, 5}) {
    PrepareOptions options = Options(corpus, absl::StrCat("out", threads));
    options.num_threads = threads;
    const auto result = PrepareStore(options);
    ASSERT_TRUE(result.ok()) << result.status();
    fingerprints.push_back((*TokenStore::Open(result->train_path))->fingerprint() +
                           (*TokenStore::Open(result->val_path))->fingerprint());
    EXPECT_TRUE(*ReadFile(result->train_path) == *ReadFile(Path("out1/train.h5"))) << threads;
  }
  EXPECT_EQ(fingerprints[0], fingerprints[1]);
  EXPECT_EQ(fingerprints[0], fingerprints[2]);
}

TEST_F(PrepareTest, TheSplitIsChosenByTheSeed) {
  const std::string corpus = WriteCorpus(100);
  PrepareOptions options = Options(corpus, "a");
  options.val_documents = 7;
  const auto a = PrepareStore(options);
  ASSERT_TRUE(a.ok()) << a.status();
  EXPECT_EQ(a->val_documents, 7);
  EXPECT_EQ(a->train_documents, 93);
  options.output_dir = Path("b");
  options.seed = 2;
  EXPECT_NE(ReadDocuments(PrepareStore(options)->val_path), ReadDocuments(a->val_path));
  options.val_documents = 100;
  EXPECT_TRUE(absl::StrContains(PrepareStore(options).status().message(), "100 documents"));
}

TEST_F(PrepareTest, BothSplitsGetADocument) {
  PrepareOptions options = Options(WriteCorpus(3), "out");
  for (const double fraction : {1e-9, 0.999999}) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      options.val_fraction = fraction;
      options.seed = seed;
      const auto result = PrepareStore(options);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->val_documents, fraction < 0.5 ? 1 : 2);
      EXPECT_EQ(result->train_documents, fraction < 0.5 ? 2 : 1);
    }
  }
}

TEST_F(PrepareTest, OneDocumentIsForTraining) {
  PrepareOptions options = Options(WriteCorpus(3), "out");
  ASSERT_TRUE(PrepareStore(options).ok());
  EXPECT_TRUE(std::filesystem::exists(Path("out/val.h5")));
  options.source.document_separator = "";
  for (const double fraction : {0.0, 0.999999}) {
    options.val_fraction = fraction;
    const auto result = PrepareStore(options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->train_documents, 1);
    EXPECT_EQ(result->val_path, "");
    EXPECT_FALSE(std::filesystem::exists(Path("out/val.h5"))) << "of an earlier run";
    EXPECT_TRUE(absl::StrContains(result->ToString(), "document_separator"));
  }
}

TEST_F(PrepareTest, FilesOfOthersAreNotReplaced) {
  std::filesystem::create_directory(Path("out"));
  const std::string other = WriteText("out/val.h5", "precious");
  const PrepareOptions options = Options(WriteCorpus(3), "out");
  const absl::Status refused = PrepareStore(options).status();
  EXPECT_TRUE(absl::StrContains(refused.message(),
                                absl::StrCat(other, ": exists already and is not a token store")))
      << refused;
  EXPECT_EQ(*ReadFile(other), "precious");
  EXPECT_FALSE(std::filesystem::exists(Path("out/train.h5")));
}

TEST_F(PrepareTest, AFaultLeavesTheOldStores) {
  PrepareOptions options = Options(WriteCorpus(30), "out");
  ASSERT_TRUE(PrepareStore(options).ok());
  const std::string train = *ReadFile(Path("out/train.h5"));
  options.source.paths.push_back(WriteText("bad.jsonl", "{\"text\": \"fine\"}\n{broken\n"));
  EXPECT_TRUE(absl::StrContains(PrepareStore(options).status().message(), "bad.jsonl:2"));
  options.source.paths = {WriteText("blank.txt", " \n \n")};
  EXPECT_TRUE(absl::StrContains(PrepareStore(options).status().message(), "no text"));
  EXPECT_EQ(*ReadFile(Path("out/train.h5")), train);
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(Path("out"))) {
    ++files;
  }
  EXPECT_EQ(files, 3) << "a temporary file remains";  // prepared.json is one of them

  options = Options(Path("none.txt"), "other");
  EXPECT_EQ(PrepareStore(options).status().code(), absl::StatusCode::kNotFound);
  options = Options(WriteCorpus(3), "other");
  options.val_fraction = 1.5;
  EXPECT_FALSE(PrepareStore(options).ok());
  options.val_fraction = 0.5;
  options.tokenizer = Path("none.model");
  EXPECT_FALSE(PrepareStore(options).ok());
}

// Models of other trainers put a space before every text.
TEST_F(PrepareTest, LongTextGivesTheTokensOfTheSameTextInJson) {
  std::string text;
  for (int i = 0; text.size() < 1'200'000; ++i) absl::StrAppend(&text, "ab", i % 7);
  const std::string plain = WriteText("a.txt", text);
  const std::string json = WriteText("a.jsonl", absl::StrCat("{\"text\": \"", text, "\"}\n"));
  TokenizerTrainOptions train;
  train.sources = {{.paths = {WriteCorpus(200)}}};
  train.output = Path("tokens.model");
  train.vocab_size = 290;
  ASSERT_TRUE(TrainTokenizer(train).ok());
  for (const std::string& tokenizer : {std::string("byte"), train.output}) {
    std::vector<std::string> fingerprints;
    for (const std::string& path : {plain, json}) {
      PrepareOptions options = Options(path, "out");
      options.tokenizer = tokenizer;
      options.source.document_separator = "";
      const auto result = PrepareStore(options);
      ASSERT_TRUE(result.ok()) << result.status();
      fingerprints.push_back((*TokenStore::Open(result->train_path))->fingerprint());
    }
    EXPECT_EQ(fingerprints[0], fingerprints[1]) << tokenizer;
  }
}

TEST_F(PrepareTest, TwoPreparationsDoNotMix) {
  PrepareOptions options = Options(WriteCorpus(30), "out");
  ASSERT_TRUE(PrepareStore(options).ok());
  const std::string train = *ReadFile(Path("out/train.h5"));
  {
    const auto other = Output::Claim(Path("out/train.h5"));
    ASSERT_TRUE(other.ok());
    const absl::Status status = PrepareStore(options).status();
    EXPECT_TRUE(absl::IsAborted(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), Path("out/train.h5"))) << status;
  }
  // A process that is killed while it replaces the stores leaves this.
  std::filesystem::create_hard_link(Path("out/train.h5"),
                                    Path("out/train.h5.tmp-0123456789abcdef0123456789abcdef"));
  WriteText("out/val.h5.tmp-0123456789abcdef0123456789abcdef", "half");
  ASSERT_TRUE(PrepareStore(options).ok());
  EXPECT_TRUE(*ReadFile(Path("out/train.h5")) == train);
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(Path("out"))) {
    left.push_back(entry.path().filename().string());
  }
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"prepared.json", "train.h5", "val.h5"}));
}

TEST_F(PrepareTest, HintsAreTrue) {
  PrepareOptions options = Options(WriteText("a.txt", "a\nb\nc\n"), "out");
  const std::string never = PrepareStore(options)->ToString();
  EXPECT_FALSE(absl::StrContains(never, "set document_separator")) << never;
  EXPECT_TRUE(absl::StrContains(never, "never occurs")) << never;
  options.source.document_separator = "";
  const std::string none = PrepareStore(options)->ToString();
  EXPECT_TRUE(absl::StrContains(none, "set document_separator")) << none;
}

TEST_F(PrepareTest, StoresOfTwoPreparationsAreTold) {
  PrepareOptions options = Options(WriteCorpus(30), "a");
  ASSERT_TRUE(PrepareStore(options).ok());
  options.output_dir = Path("b");
  ASSERT_TRUE(PrepareStore(options).ok());
  options.output_dir = Path("c");
  options.seed = 2;
  ASSERT_TRUE(PrepareStore(options).ok());
  const auto a = *TokenStore::Open(Path("a/train.h5")), b = *TokenStore::Open(Path("b/val.h5")),
             c = *TokenStore::Open(Path("c/val.h5")),
             old = *TokenStore::Open(WriteStore("old.h5", {{1, 2}}));
  EXPECT_EQ(a->info().preparation_id.size(), 16u);
  EXPECT_TRUE(a->CheckSamePreparation(*b).ok());  // equal input: the same stores
  EXPECT_TRUE(old->CheckSamePreparation(*old).ok());
  for (const auto& other : {c, old}) {
    const absl::Status status = a->CheckSamePreparation(*other);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(absl::StrContains(status.message(), other->path())) << status;
  }
}

TEST_F(PrepareTest, BothPassesReadTheSame) {
  PrepareOptions options = Options("/proc/sys/kernel/random/uuid", "out");  // other text each time
  if (!std::filesystem::exists(options.source.paths[0])) GTEST_SKIP();
  options.val_fraction = 0;
  EXPECT_TRUE(PrepareStore(options).ok());
  std::filesystem::remove_all(Path("out"));
  options.source.document_separator = "-";
  options.val_documents = 1;
  const absl::Status status = PrepareStore(options).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "uuid changed while it was read")) << status;
  EXPECT_FALSE(std::filesystem::exists(Path("out/train.h5")));
}

TEST_F(PrepareTest, StoresAreDescribed) {
  PrepareOptions options = Options(WriteCorpus(30), "out");
  const auto result = PrepareStore(options);
  ASSERT_TRUE(result.ok());
  const auto text = DescribeStore(result->train_path, /*verify=*/true);
  ASSERT_TRUE(text.ok()) << text.status();
  for (const std::string& part :
       {absl::StrCat(result->train_tokens), std::string("corpus.txt"), std::string("byte, 258"),
        std::string("every checksum is right"), std::string("Chapter ")}) {
    EXPECT_TRUE(absl::StrContains(*text, part)) << part << "\n" << *text;
  }
  EXPECT_TRUE(DescribeStore(Path("out/none.h5"), false).status().code() ==
              absl::StatusCode::kNotFound);
}

TEST_F(PrepareTest, TheStoreKnowsItsTokenizer) {
  TokenizerTrainOptions train;
  train.sources = {{.paths = {WriteCorpus(200)}}};
  train.output = Path("tokens.model");
  train.vocab_size = 290;
  ASSERT_TRUE(TrainTokenizer(train).ok());
  PrepareOptions options = Options(Path("corpus.txt"), "out");
  options.tokenizer = train.output;
  const auto result = PrepareStore(options);
  ASSERT_TRUE(result.ok()) << result.status();
  std::filesystem::remove(train.output);  // the store holds a copy
  EXPECT_EQ(ReadDocuments(result->train_path)[0].substr(0, 8), "Chapter ");
  const auto store = TokenStore::Open(result->train_path);
  const absl::Status status = (*store)->CheckTokenizer(**LoadTokenizer("byte"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), "hash")) << status;
}

}  // namespace
}  // namespace wyvern
