// Conversations from JSON lines to batches.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/sampling/sampler.h"
#include "data/store/preparation.h"
#include "data/store/prepare.h"
#include "data/text/parquet_reader.h"
#include "data/tokenizer/tokenizer_training.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

constexpr char kTemplate[] =
    "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}";
constexpr char kRecords[] =
    R"({"messages": [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]})"
    "\n"
    R"({"prompt": "2+2=", "completion": "4"})"
    "\n"
    R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},)"
    R"({"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})";

class ChatStoreTest : public DataTest {
 protected:
  PrepareOptions Options(const std::string& output) {
    PrepareOptions options;
    options.source.paths = {WriteText("chats.jsonl", kRecords)};
    options.source.format = TextFormat::kChat;
    options.source.chat_template = WriteText("chat.jinja", kTemplate);
    options.output_dir = Path(output);
    options.val_fraction = 0;
    options.num_threads = 2;
    options.progress = false;
    return options;
  }

  // The documents, with what is not learnt in brackets; eos is |.
  static std::string Show(const TokenStore& store) {
    std::vector<int32_t> tokens(store.num_tokens());
    std::vector<uint8_t> learnt(store.num_tokens());
    EXPECT_TRUE(store.Read(0, store.num_tokens(), tokens.data()).ok());
    EXPECT_TRUE(store.ReadLearnt(0, store.num_tokens(), learnt.data()).ok());
    std::string shown;
    const absl::Span<const int64_t> offsets = store.document_offsets();
    for (size_t d = 0; d + 1 < offsets.size(); ++d) {
      bool is_open = false;
      for (int64_t t = offsets[d]; t < offsets[d + 1]; ++t) {
        if ((learnt[t] == 0) != is_open) shown += std::exchange(is_open, !is_open) ? "]" : "[";
        shown += tokens[t] < 256 ? std::string(1, static_cast<char>(tokens[t])) : "|";
      }
      shown += is_open ? "]\n" : "\n";
    }
    return shown;
  }
};

TEST_F(ChatStoreTest, TurnsOfTheAssistantAreLearnt) {
  const auto result = PrepareStore(Options("out"));
  ASSERT_TRUE(result.ok()) << result.status();
  const auto store = TokenStore::Open(result->train_path);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE((*store)->has_learnt());
  EXPECT_TRUE((*store)->Verify().ok());
  EXPECT_EQ(Show(**store), "[<u>1+1<a>]2\n[2+2=]4|\n[<u>a<a>]b[<u>c<a>]d\n");
  const auto text = DescribeStore(result->train_path, /*verify=*/true);
  ASSERT_TRUE(text.ok());
  EXPECT_TRUE(absl::StrContains(*text, "learnt tokens    5 (")) << *text;
}

TEST_F(ChatStoreTest, ABosInFrontIsNotLearnt) {
  PrepareOptions options = Options("out");
  options.source.add_bos = true;
  const auto result = PrepareStore(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Show(**TokenStore::Open(result->train_path)),
            "[|<u>1+1<a>]2\n[|2+2=]4|\n[|<u>a<a>]b[<u>c<a>]d\n");
}

TEST_F(ChatStoreTest, ParquetNeedsColumnsOfConversations) {
  if (!CanReadParquet()) GTEST_SKIP() << "this build has no Apache Arrow";
  PrepareOptions options = Options("out");
  options.source.paths = {"tests/data/text/parquet/rows.parquet"};
  const std::string error(PrepareStore(options).status().message());
  EXPECT_TRUE(absl::StrContains(error, "its columns hold no conversations; expected \"messages\""))
      << error;
  EXPECT_TRUE(absl::StrContains(error, "there is: meta, n, raw, text, turns")) << error;
  options.source.paths = {"tests/data/text/parquet/chats.parquet"};
  const auto result = PrepareStore(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Show(**TokenStore::Open(result->train_path)),
            "[<s>S<u>1+1<a>]2\n[<u>a<a>]b[<u>c<a>]d\n");
  options.source.on_error = OnError::kError;
  WriteText("chat.jinja", "{{ raise_exception('never') }}");
  EXPECT_TRUE(absl::StrContains(PrepareStore(options).status().message(), "chats.parquet:1: "));
}

TEST_F(ChatStoreTest, TheLastTurnAloneIsAnotherStore) {
  PrepareOptions options = Options("out");
  const auto all = PrepareStore(options);
  ASSERT_TRUE(all.ok()) << all.status();
  const std::string before = (*TokenStore::Open(all->train_path))->fingerprint();
  std::vector<std::string> notes;
  const auto tokenizer = LoadTokenizer("byte");
  EXPECT_TRUE(CheckPrepared(options, **tokenizer, &notes).ok());
  options.source.train_on = TrainedTurns::kLast;
  EXPECT_FALSE(CheckPrepared(options, **tokenizer, &notes).ok());
  const auto last = PrepareStore(options);
  ASSERT_TRUE(last.ok()) << last.status();
  const auto store = TokenStore::Open(last->train_path);
  EXPECT_EQ(Show(**store), "[<u>1+1<a>]2\n[2+2=]4|\n[<u>a<a>b<u>c<a>]d\n");
  EXPECT_NE((*store)->fingerprint(), before);
  WriteText("chat.jinja", absl::StrCat(kTemplate, " "));
  const auto changed = CheckPrepared(options, **tokenizer, &notes);
  EXPECT_TRUE(absl::StrContains(changed.message(), "chat_template")) << changed;
}

TEST_F(ChatStoreTest, BatchesHaveTheLearntTargetsAlone) {
  const auto result = PrepareStore(Options("out"));
  ASSERT_TRUE(result.ok()) << result.status();
  const auto store = TokenStore::Open(result->train_path);
  for (const DocumentBoundary boundary : {DocumentBoundary::kReset, DocumentBoundary::kNone}) {
    const SequentialSampler sampler(*store, 5, boundary);
    const auto batch = sampler.Sample(0, sampler.num_samples());
    ASSERT_TRUE(batch.ok()) << batch.status();
    std::string targets;
    for (const int32_t target : batch->targets) {
      if (target >= 0) targets += target < 256 ? std::string(1, static_cast<char>(target)) : "|";
    }
    EXPECT_EQ(targets, "24|bd");
    EXPECT_EQ(batch->num_targets(), 5);
  }
}

TEST_F(ChatStoreTest, TemplatesComeFromAFolderWithTheirTokens) {
  PrepareOptions options = Options("out");
  std::filesystem::create_directory(Path("model"));
  WriteText("model/tokenizer_config.json",
            R"({"eos_token": {"content": "#"}, "chat_template": [{"name": "default",
                "template": "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"}]})");
  options.source.chat_template = Path("model");
  const auto result = PrepareStore(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Show(**TokenStore::Open(result->train_path)), "[1+1#]2#\n[2+2=]4|\n[a#]b#[c#]d#\n");
  WriteText("model/tokenizer_config.json", "{}");
  const auto none = PrepareStore(options);
  EXPECT_TRUE(absl::StrContains(none.status().message(), "holds no chat template"))
      << none.status();
}

TEST_F(ChatStoreTest, WithoutAWordTheTokenizersTemplateCounts) {
  std::filesystem::create_directory(Path("model"));
  TokenizerTrainOptions train;
  train.sources = {{.paths = {WriteText("text.txt", "what a tokenizer is made of, of, of")}}};
  train.output = Path("model/tokenizer.json");
  train.is_byte_level = true;
  train.vocab_size = 260;
  ASSERT_TRUE(TrainTokenizer(train).ok());
  PrepareOptions options = Options("out");
  options.source.chat_template = "";
  const std::string nowhere = absl::StrCat(
      "messages need a chat template, and there is no ", Path("model/chat_template.jinja"),
      " and no chat_template in ", Path("model/tokenizer_con"));
  for (const char* tokenizer : {"model/tokenizer.json", "model"}) {
    options.tokenizer = Path(tokenizer);
    std::filesystem::remove(Path("model/chat_template.jinja"));
    const auto none = PrepareStore(options);
    EXPECT_TRUE(absl::StrContains(none.status().message(), nowhere)) << none.status();
    WriteText("model/chat_template.jinja", kTemplate);
    const auto result = PrepareStore(options);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto store = *TokenStore::Open(result->train_path);
    const auto made_with = *store->MakeStoreTokenizer();
    std::vector<int32_t> tokens(store->document_offsets()[1]);
    ASSERT_TRUE(store->Read(0, static_cast<int64_t>(tokens.size()), tokens.data()).ok());
    // eos_token is the one of tokenizer_config.json.
    EXPECT_EQ(tokens, made_with->Encode("<u>1+1<|endoftext|><a>2<|endoftext|>"));
    EXPECT_EQ(made_with->files().at("chat_template.jinja"), kTemplate);
  }
  options.tokenizer = "byte";
  const auto bytes = PrepareStore(options);
  EXPECT_TRUE(absl::StrContains(bytes.status().message(), "the tokenizer has no files"))
      << bytes.status();
}

TEST_F(ChatStoreTest, ARecordThatIsNoneIsNamedWithItsLine) {
  PrepareOptions options = Options("out");
  WriteText("chats.jsonl",
            absl::StrCat(R"({"prompt": "a", "completion": "b"})", "\n", R"({"text": "a"})", "\n"));
  const auto result = PrepareStore(options);
  EXPECT_TRUE(absl::StrContains(result.status().message(), "chats.jsonl:2: expected the member"))
      << result.status();
  options.source.format = TextFormat::kJson;
  EXPECT_TRUE(absl::StrContains(PrepareStore(options).status().message(), "chat_template: has no"));
  TokenizerTrainOptions train;
  train.sources = {Options("out").source};
  train.output = Path("t.model");
  train.vocab_size = 300;
  EXPECT_TRUE(absl::StrContains(TrainTokenizer(train).status().message(), "not on conversations"));
}

TEST_F(ChatStoreTest, DamagedConversationsAreLeftOutAndCounted) {
  PrepareOptions options = Options("out");
  WriteText("chats.jsonl",
            absl::StrCat(kRecords, "\n", R"({"text": "no conversation"})", "\n{broken\n",
                         R"({"messages": [{"role": 7, "content": "x"}]})", "\n"));
  EXPECT_FALSE(PrepareStore(options).ok());
  options.source.on_error = OnError::kSkip;
  const auto result = PrepareStore(options);
  ASSERT_TRUE(result.ok()) << result.status();
  const auto store = TokenStore::Open(result->train_path);
  EXPECT_EQ(Show(**store), "[<u>1+1<a>]2\n[2+2=]4|\n[<u>a<a>]b[<u>c<a>]d\n");
  ASSERT_EQ(result->notes.size(), 2u);
  EXPECT_TRUE(absl::StrContains(result->notes[1], "writes nothing behind a turn"));
  const std::string& note = result->notes[0];
  EXPECT_TRUE(absl::StartsWith(note, "3 damaged conversations were left out: ")) << note;
  EXPECT_TRUE(absl::StrContains(note, "chats.jsonl:4: expected the member")) << note;
  EXPECT_TRUE(absl::StrContains(note, "chats.jsonl:5: ")) << note;
  const auto made = ParseJson(*(*store)->ReadPreparation(), "store");
  EXPECT_EQ((*made)["left_out"]["damaged_records"], 3);

  // A number of held-out documents counts the good ones.
  options.output_dir = Path("held");
  options.val_documents = 2;
  const auto held = PrepareStore(options);
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(held->val_documents, 2);
  EXPECT_EQ(held->train_documents, 1);

  WriteText("chats.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
  const absl::Status none = PrepareStore(options).status();
  EXPECT_TRUE(absl::StrContains(none.message(), "each of the 2 conversations is damaged")) << none;
}

}  // namespace
}  // namespace wyvern
