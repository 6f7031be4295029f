// tests/clients/: other people's libraries read what Wyvern writes.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "data/chat/load_chat_template.h"
#include "data/io/json.h"
#include "data/io/utf8.h"
#include "data/store/prepare.h"
#include "data/store/token_store.h"
#include "data/text/parquet_reader.h"
#include "data/text/text_source.h"
#include "data/token_files/export_megatron.h"
#include "data/token_files/import_tokens.h"
#include "data/tokenizer/id_tokenizer.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_training.h"
#include "tests/support/client_python.h"
#include "tests/support/on_ranks.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/hf/hf_models.h"
#include "tests/trainer/state_checks.h"
#include "trainer/checkpoint/saver.h"
#include "trainer/hf/parity.h"
#include "trainer/hf/save_folder.h"
#include "trainer/report/tensorboard.h"

namespace wyvern {
namespace {

constexpr char kNoTransformers[] =
    "transformers and PyTorch are not there; scripts/test --transformers brings them";

class ClientsTest : public CheckpointTest {
 protected:
  // Runs a script of tests/clients; its output, or nullopt if it failed.
  std::optional<std::string> RunScript(const std::string& arguments) const {
    return Execute(absl::StrCat(ClientPython(), " tests/clients/", arguments));
  }
  std::optional<std::string> RunPython(const std::string& code) const {
    return Execute(absl::StrCat(ClientPython(), " -c \"", code, "\""));
  }

 private:
  std::optional<std::string> Execute(const std::string& program) const {
    const std::string out = Path("script.out");
    const std::string command = absl::StrCat(program, " > ", out, " 2>&1");
    const bool ok = std::system(command.c_str()) == 0;
    const std::string text = *ReadFile(out);
    if (ok) return text;
    std::fprintf(stderr, "%s\n", text.c_str());
    return std::nullopt;
  }
};

// Texts behind a count of their bytes.
std::vector<std::string> ReadCounted(const std::string& path) {
  const std::string content = *ReadFile(path);
  std::vector<std::string> texts;
  for (size_t at = 0; at < content.size();) {
    uint32_t size;
    std::memcpy(&size, content.data() + at, sizeof(size));
    texts.push_back(content.substr(at + sizeof(size), size));
    at += sizeof(size) + size;
  }
  return texts;
}

// A zero byte is a part of it here.
bool IsUtf8(const std::string& text) {
  for (const absl::string_view part : absl::StrSplit(text, '\0')) {
    if (Utf8PrefixLength(part) != part.size()) return false;
  }
  return true;
}

std::unique_ptr<Model> SomeModel(const std::string& name) {
  auto model = Model::Create(HfTestModelNamed(name), Device::kCpu, DType::kFloat32, false);
  model->Initialize(11);
  return model;
}

TEST_F(ClientsTest, H5pyReadsACheckpoint) {
  if (const std::string why = Lacks("h5py"); !why.empty()) GTEST_SKIP() << why;
  std::vector<NamedTensor> tensors = SomeTensors();
  tensors.push_back({"sum", Tensor::FromVector<float>({1.5f, 2.25f, -0.5f}, {3})});
  tensors.push_back({"sum_bf16", Tensor::FromVector<float>({8, 0.125f}, {2}).To(DType::kBf16)});
  ASSERT_TRUE(WriteCheckpoint(Run(), 5, tensors, {}, 0, {.max_shard_bytes = 48}).ok());
  const auto text = RunScript("read_checkpoint.py " + Step(5));
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(absl::StrContains(*text, "sum sum 3.25")) << *text;
  EXPECT_TRUE(absl::StrContains(*text, "sum_bf16 sum 8.125")) << *text;
  EXPECT_TRUE(absl::StrContains(*text, "OK: step 5, 10 tensors")) << *text;
}

TEST_F(ClientsTest, H5pyReadsWhatSeveralRanksWrote) {
  if (const std::string why = Lacks("h5py"); !why.empty()) GTEST_SKIP() << why;
  const std::vector<int64_t> cuts = {0, 31, 62, 105};  // in the middle of rows
  OnRanks(3, [&](World* world) {
    const int64_t begin = cuts[static_cast<size_t>(world->rank())];
    const int64_t end = cuts[static_cast<size_t>(world->rank()) + 1];
    std::vector<float> values;
    for (int64_t i = begin; i < end; ++i) values.push_back(static_cast<float>(i));
    CheckpointSaver saver(Run(), 0, world, Device::kCpu);
    const absl::Status started =
        saver.Start({.step = 5,
                     .parts = {{{"x", {5, 7, 3}, DType::kFloat32},
                                begin,
                                Tensor::FromVector(values, {end - begin})}}});
    ASSERT_TRUE(started.ok()) << started;
    const auto saved = saver.Wait();
    ASSERT_TRUE(saved.has_value());
    EXPECT_TRUE(saved->status.ok()) << saved->status;
  });
  const auto text = RunScript("read_checkpoint.py " + Step(5));
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(absl::StrContains(*text, "x sum 5460")) << *text;
  // And puts the blocks where they belong.
  const auto order = RunPython(
      absl::StrCat("import sys; sys.path.insert(0, 'tests/clients'); import read_checkpoint; "
                   "print(read_checkpoint.load('",
                   Step(5), "')[1]['x'].ravel().tolist() == list(range(105)))"));
  ASSERT_TRUE(order.has_value());
  EXPECT_EQ(*order, "True\n");
}

TEST_F(ClientsTest, H5pyReadsATokenStore) {
  if (const std::string why = Lacks("h5py"); !why.empty()) GTEST_SKIP() << why;
  const std::string store = WriteStore("s.h5", {{5, 6, 7, 257}, {}, {8, 257}});
  const auto text = RunScript(absl::StrCat("read_token_store.py ", store, " 0"));
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(absl::StrContains(*text, "5 6 7 257\n")) << *text;
  EXPECT_TRUE(absl::StrContains(*text, "OK: 6 tokens, 3 documents of 1 files")) << *text;
}

TEST_F(ClientsTest, ParquetFilesOfPyarrowAreReadAsItReadsThem) {
  if (!CanReadParquet()) GTEST_SKIP() << "this build has no Apache Arrow";
  if (const std::string why = Lacks("pyarrow"); !why.empty()) GTEST_SKIP() << why;
  const auto text = RunScript("write_parquet.py " + Path("parquet"));
  ASSERT_TRUE(text.has_value());
  const auto expected = ReadJsonFile(Path("parquet/expected.json"));
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_EQ(*text, absl::StrCat("OK: ", expected->size(), " files\n"));
  for (const auto& [name, what] : expected->items()) {
    const auto source = TextSource::Open(
        {.paths = {absl::StrCat(Path("parquet/"), name, ".parquet")}, .field = what[0]},
        LongDocuments::kWhole);
    ASSERT_TRUE(source.ok()) << source.status();
    std::vector<std::string> documents;
    TextPiece piece;
    while (true) {
      const absl::StatusOr<bool> more = (*source)->Next(&piece);
      ASSERT_TRUE(more.ok()) << more.status();
      if (!*more) break;
      documents.push_back(piece.text);
    }
    EXPECT_TRUE(documents == what[1].get<std::vector<std::string>>()) << name;
  }
}

TEST_F(ClientsTest, ConversationsInParquetOfPyarrowAreThoseOfJson) {
  if (!CanReadParquet()) GTEST_SKIP() << "this build has no Apache Arrow";
  if (const std::string why = Lacks("pyarrow"); !why.empty()) GTEST_SKIP() << why;
  const auto text = RunScript("write_parquet.py --chats " + Path("chats"));
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(*text, "OK: 5 files\n");
  const std::string record =
      R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "1+1 é"}, )"
      R"({"role": "assistant", "content": "2"}]})";
  PrepareOptions options;
  options.source.format = TextFormat::kChat;
  options.source.chat_template =
      WriteText("chat.jinja",
                "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
                "{% if add_generation_prompt %}<assistant>{% endif %}");
  options.val_fraction = 0;
  options.progress = false;
  const auto tokens_of = [&](const std::string& path) {
    options.source.paths = {path};
    options.output_dir = path + ".stores";
    const auto prepared = PrepareStore(options);
    EXPECT_TRUE(prepared.ok()) << prepared.status();
    if (!prepared.ok()) return std::vector<int32_t>();
    const auto store = *TokenStore::Open(prepared->train_path);
    std::vector<int32_t> tokens(static_cast<size_t>(store->num_tokens()));
    EXPECT_TRUE(store->Read(0, store->num_tokens(), tokens.data()).ok());
    std::vector<uint8_t> learnt(tokens.size());
    EXPECT_TRUE(store->ReadLearnt(0, store->num_tokens(), learnt.data()).ok());
    tokens.insert(tokens.end(), learnt.begin(), learnt.end());
    return tokens;
  };
  const std::vector<int32_t> expected =
      tokens_of(WriteText("chats.jsonl", absl::StrJoin(std::vector<std::string>(5, record), "\n")));
  ASSERT_FALSE(expected.empty());
  for (const char* name : {"messages", "typed", "conversations", "alpaca", "pair"}) {
    EXPECT_TRUE(tokens_of(Path(absl::StrCat("chats/", name, ".parquet"))) == expected) << name;
  }
}

TEST_F(ClientsTest, MegatronsFormIsReadAndWrittenAsNumpyDoes) {
  if (const std::string why = Lacks("numpy"); !why.empty()) GTEST_SKIP() << why;
  const std::unique_ptr<Tokenizer> ids = *MakeIdTokenizer(100, 9);
  for (const char* dtype :
       {"uint8", "int8", "int16", "int32", "int64", "float64", "float32", "uint16"}) {
    ASSERT_TRUE(RunScript(absl::StrCat("megatron_tokens.py write ", Path("peer"), " ", dtype,
                                       " 1,2/3,9 '' 99,9 4,5,6"))
                    .has_value());
    ImportTokensOptions options;
    options.paths = {Path("peer.idx")};
    options.split = {.output_dir = Path("imported"), .val_fraction = 0};
    options.progress = false;
    const auto imported = ImportTokens(options, *ids);
    ASSERT_TRUE(imported.ok()) << imported.status();
    const auto store = *TokenStore::Open(imported->train_path);
    ASSERT_TRUE(
        ExportMegatron(*store, Path("back"), LossMask::kRefuse, /*max_sequence_tokens=*/3).ok());
    EXPECT_EQ(RunScript("megatron_tokens.py read " + Path("back")),
              "uint16\n1,2,3/9\n99,9\n4,5,6/9\n")
        << dtype;
  }
}

TEST_F(ClientsTest, TokenFilesOfOtherProgramsAreImportedAsTheyWroteThem) {
  for (const char* package : {"numpy", "datatrove"}) {
    if (const std::string why = Lacks(package); !why.empty()) GTEST_SKIP() << why;
  }
  const auto text = RunScript("write_token_files.py " + Path("peer"));
  ASSERT_TRUE(text.has_value());
  const auto expected = ReadJsonFile(Path("peer/expected.json"));
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_GE(expected->size(), 20u);
  const std::unique_ptr<Tokenizer> ids = *MakeIdTokenizer(100, 9);
  for (const auto& [name, documents] : expected->items()) {
    ImportTokensOptions options;
    options.paths = {Path("peer/") + name};
    options.split = {.output_dir = Path("imported"), .val_fraction = 0};
    options.progress = false;
    const auto imported = ImportTokens(options, *ids);
    ASSERT_TRUE(imported.ok()) << imported.status();
    const auto store = *TokenStore::Open(imported->train_path);
    std::vector<int32_t> tokens(static_cast<size_t>(store->num_tokens()));
    ASSERT_TRUE(store->Read(0, store->num_tokens(), tokens.data()).ok());
    const absl::Span<const int64_t> offsets = store->document_offsets();
    nlohmann::json found = nlohmann::json::array();
    for (size_t d = 0; d + 1 < offsets.size(); ++d) {
      found.push_back(
          std::vector<int32_t>(tokens.begin() + offsets[d], tokens.begin() + offsets[d + 1]));
    }
    EXPECT_EQ(found, documents) << name;
  }
}

TEST_F(ClientsTest, SafetensorsReadsAnExportedFolder) {
  if (const std::string why = Lacks("safetensors"); !why.empty()) GTEST_SKIP() << why;
  const auto model = SomeModel("gated_hybrid");
  ASSERT_TRUE(SaveHfFolder(model.get(), Path("one"), {}).ok());
  ASSERT_TRUE(SaveHfFolder(model.get(), Path("sharded"), {.max_shard_bytes = 60000}).ok());
  const auto one = RunScript("read_safetensors.py " + Path("one"));
  const auto sharded = RunScript("read_safetensors.py " + Path("sharded"));
  ASSERT_TRUE(one.has_value());
  ASSERT_TRUE(sharded.has_value());
  EXPECT_EQ(*one, *sharded);
  double sum = 0;
  for (const float value : model->parameters()[0]->value.ToVector<float>()) {
    sum += static_cast<double>(value);
  }
  const std::string start = "model.embeddings.weight 29x32 ";
  const size_t found = one->find(start);
  ASSERT_NE(found, std::string::npos) << *one;
  EXPECT_NEAR(std::strtod(one->c_str() + found + start.size(), nullptr), sum, 1e-6);
}

TEST_F(ClientsTest, SentencePieceAndTokenizersGiveTheSameIds) {
  for (const char* package : {"sentencepiece", "tokenizers"}) {
    if (const std::string why = Lacks(package); !why.empty()) GTEST_SKIP() << why;
  }
  std::string corpus;
  for (int i = 0; i < 300; ++i) {
    absl::StrAppend(&corpus, "the rule ", i % 7, " erases, then writes ", i % 5, " states\n");
  }
  TokenizerTrainOptions options;
  options.sources = {{.paths = {WriteText("corpus.txt", corpus)}}};
  options.output = Path("bpe.model");
  options.vocab_size = 330;
  options.num_threads = 1;
  ASSERT_TRUE(TrainTokenizer(options).ok());
  const auto tokenizer = LoadTokenizer(options.output);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  // Runs of white space, digits, and characters that only bytes can spell.
  const std::string text =
      "the rule  writes\n\n 2048 states,\tthen \xc3\xa9t\xc3\xa9 \xe4\xb8\xad\xe2\x82\xac erases ";
  const auto ids =
      RunScript(absl::StrCat("read_tokenizer.py ", options.output, " ", WriteText("u.txt", text)));
  ASSERT_TRUE(ids.has_value());
  EXPECT_EQ(*ids, absl::StrCat("[", absl::StrJoin((*tokenizer)->Encode(text), ", "), "]\n"));
}

TEST_F(ClientsTest, TransformersReadsExportedSentencePieceModels) {
  if (!Lacks("sentencepiece, transformers").empty()) GTEST_SKIP() << kNoTransformers;
  std::string corpus;
  for (uint64_t i = 0; i < 600; ++i) {
    std::string word;  // of a few syllables, in some thousand ways
    for (uint64_t rest = i * i * 2654435761 % 50021; rest > 0; rest /= 5) {
      word += std::vector<std::string>{"ba", "le", "ti", "s", "mor"}[rest % 5];
    }
    absl::StrAppend(&corpus, "the rule ", word, " erases, then writes ", i % 5, " states\n");
  }
  const std::string text = WriteText(
      "u.txt", "  the rule  writes\n\n 2048 states,\tthen \xc3\xa9t\xc3\xa9 \xe4\xb8\xad erases ");
  for (const TokenizerType type : {TokenizerType::kBpe, TokenizerType::kUnigram}) {
    TokenizerTrainOptions options;
    options.sources = {{.paths = {WriteText("corpus.txt", corpus)}}};
    options.output = Path("trained.model");
    options.type = type;
    options.vocab_size = 320;
    options.num_threads = 1;
    ASSERT_TRUE(TrainTokenizer(options).ok());
    const auto tokenizer = LoadTokenizer(options.output);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ASSERT_TRUE(MakeFolders(Path("exported")).ok());
    for (const auto& [name, content] : (*tokenizer)->files()) {
      ASSERT_TRUE(WriteFileAtomically(Path("exported/" + name), content).ok());
    }
    const auto ids = RunScript(absl::StrCat("read_hf_tokenizer.py ", Path("exported"), " ", text));
    ASSERT_TRUE(ids.has_value());
    EXPECT_EQ(*ids,
              absl::StrCat("[", absl::StrJoin((*tokenizer)->Encode(*ReadFile(text)), ", "), "]\n"));
  }
}

TEST_F(ClientsTest, TransformersRendersAnExportedChatTemplateAlike) {
  if (!Lacks("transformers, jinja2").empty()) GTEST_SKIP() << kNoTransformers;
  TokenizerTrainOptions options;
  options.sources = {{.paths = {WriteText("corpus.txt", std::string(400, 'a') + " b c d e f g")}}};
  options.is_byte_level = true;
  options.vocab_size = 262;
  options.byte_level.bos = "<s>";
  options.byte_level.specials = {"<|im_end|>"};
  options.output = Path("hf/tokenizer.json");
  ASSERT_TRUE(TrainTokenizer(options).ok());
  WriteText("hf/chat_template.jinja",
            "{{ bos_token }}{% for m in messages %}{{ m['role'] | upper }}: {{ m.content | trim }}"
            "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}");
  const std::string messages = R"([{"role": "system", "content": " S\n"},
      {"role": "user", "content": "1 < 2 & é?"}, {"role": "assistant", "content": "yes"},
      {"role": "user", "content": "b"}])";
  const auto rendered = RunScript(
      absl::StrCat("read_hf_tokenizer.py --chat ", Path("hf"), " ", WriteText("m.json", messages)));
  ASSERT_TRUE(rendered.has_value());
  const auto tokenizer = LoadTokenizer(Path("hf"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto chat = ChatTemplateOf((*tokenizer)->files());
  ASSERT_TRUE(chat.ok()) << chat.status();
  const auto prompt = (*ChatTemplate::Make(*chat))
                          ->RenderPrompt(*ParseOrderedJson(
                              absl::StrCat("{\"messages\": ", messages, "}"), "messages"));
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(*rendered, *prompt);
}

TEST_F(ClientsTest, TokenizersTrainsAByteLevelTokenizerAlike) {
  if (const std::string why = Lacks("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  std::string corpus;
  for (uint64_t i = 0; i < 600; ++i) {
    std::string word;  // of a few syllables, in some thousand ways
    for (uint64_t rest = i * i * 2654435761 % 50021; rest > 0; rest /= 7) {
      word += std::vector<std::string>{"ba", "le", "ti", "s", "mor", "é", "中文"}[rest % 7];
    }
    absl::StrAppend(&corpus, "{\"text\": \"the rule's ", word, " states ", i * 7919,
                    ",  erased\\n\\n aaaaaaa bananas", std::string(i % 9, 'z'), "\"}\n");
  }
  TokenizerTrainOptions options;
  options.sources = {{.paths = {WriteText("corpus.jsonl", corpus)}}};
  options.is_byte_level = true;
  options.vocab_size = 900;
  options.num_threads = 2;
  for (const char* pattern : {"gpt2", "cl100k", "o200k", "llama3", "qwen", "kimi"}) {
    options.output = Path(absl::StrCat(pattern, "/tokenizer.json"));
    options.byte_level.pattern = pattern;
    options.byte_level.specials = {"<|im_start|>", "the"};  // one that merges make, too
    const auto trained = TrainTokenizer(options);
    ASSERT_TRUE(trained.ok()) << trained.status();
    const auto text =
        RunScript(absl::StrCat("train_tokenizer.py ", options.output, " ", Path("corpus.jsonl")));
    ASSERT_TRUE(text.has_value()) << pattern;
    EXPECT_TRUE(absl::StrContains(*text, "OK: ")) << *text;
  }
}

// With WYVERN_MANY_TEXTS=1, on 50 MB of text and 100,000 strings, which takes some minutes.
TEST_F(ClientsTest, IdsAreThoseOfTokenizersAndTiktoken) {
  for (const char* package : {"tiktoken", "tokenizers"}) {
    if (const std::string why = Lacks(package); !why.empty()) GTEST_SKIP() << why;
  }
  const bool many = std::getenv("WYVERN_MANY_TEXTS") != nullptr;
  const auto made = RunScript(
      absl::StrCat("tokenizer_peers.py make ", Path("."), many ? " 50 100000" : " 1 3000"));
  ASSERT_TRUE(made.has_value());
  const std::vector<std::string> texts = ReadCounted(Path("texts.bin"));
  const auto models = ReadJsonFile(Path("models.json"));
  ASSERT_TRUE(models.ok()) << models.status();
  for (const auto& model : *models) {
    const std::string folder = Path(model["name"].get<std::string>());
    const auto tokenizer = LoadTokenizer(
        folder, {.bos = "", .eos = "", .pattern = model["pattern"].get<std::string>()});
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    std::string out;
    int64_t lost = 0;
    for (const std::string& text : texts) {
      const std::vector<int32_t> ids = (*tokenizer)->Encode(text);
      const auto count = static_cast<uint32_t>(ids.size());
      out.append(reinterpret_cast<const char*>(&count), sizeof(count));
      out.append(reinterpret_cast<const char*>(ids.data()), count * sizeof(int32_t));
      if (!model["exact"].get<bool>()) continue;
      // Ids of the end of a document stand for no text.
      const bool has_end = absl::StrContains(text, "<|endoftext|>");
      if (IsUtf8(text) && !has_end && (*tokenizer)->Decode(ids) != text) ++lost;
    }
    EXPECT_EQ(lost, 0) << model["name"];
    ASSERT_TRUE(WriteFileAtomically(folder + "/ids.bin", out).ok());
  }
  const auto compared = RunScript("tokenizer_peers.py compare " + Path("."));
  ASSERT_TRUE(compared.has_value());
  if (many) std::printf("%s%s", made->c_str(), compared->c_str());
  EXPECT_GE(models->size(), 6u);
}

// Some seconds, most of them the imports.
TEST_F(ClientsTest, TransformersTrainsAnExportedModelAlike) {
  if (!Lacks("transformers, torch").empty()) GTEST_SKIP() << kNoTransformers;
  for (const char* name : {"llama", "ling"}) {
    SCOPED_TRACE(name);
    const auto model = SomeModel(name);
    ASSERT_TRUE(SaveHfFolder(model.get(), Path(name), {}).ok());
    ASSERT_TRUE(
        RunScript(absl::StrCat("write_hf_reference.py --tokens 20 ", Path(name))).has_value());
    const auto report = RunParity(Path(name), Device::kCpu, DType::kFloat32, {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_GT(report->rows.size(), 30u);
    for (const ParityRow& row : report->rows) {
      EXPECT_TRUE(row.passed()) << row.quantity << ": " << row.error << ", at most " << row.limit;
    }
  }
}

// Two processes' files; the second one resumed at step 3, and had a clock five minutes behind.
TEST_F(ClientsTest, TensorBoardReadsTheEvents) {
  if (const std::string why = Lacks("tensorboard"); !why.empty()) GTEST_SKIP() << why;
  const std::string folder = Path("tensorboard");
  std::string metrics;
  for (const int64_t first : {1, 3}) {
    auto writer = TensorBoardWriter::Create(folder, first == 1 ? 0 : first);
    ASSERT_TRUE(writer.ok());
    for (int64_t step = first; step < first + 4; ++step) {
      const double loss = 10.0 * static_cast<double>(first) + static_cast<double>(step);
      ASSERT_TRUE((*writer)->AddScalars(step, {{"train/loss", loss}, {"train/lr", 3e-4}}).ok());
      if (first == 3 || step < 3) {
        absl::StrAppend(&metrics, "{\"step\": ", step, ", \"loss\": ", loss, "}\n");
      }
    }
    if (first == 3) continue;
    std::string name = (*writer)->path();
    const size_t at = name.find("tfevents.") + 9;
    name.replace(at, 10, absl::StrCat(std::stoll(name.substr(at, 10)) + 300));
    std::filesystem::rename((*writer)->path(), name);
  }
  const std::string path = WriteText("metrics.jsonl", metrics);
  const auto text = RunScript(absl::StrCat("read_events.py ", folder, " ", path));
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(absl::StrContains(*text, "OK: 6 losses of train/loss")) << *text;
}

}  // namespace
}  // namespace wyvern
