// Text that several processes prepare, and their shards as one store.
#include "data/store/prepare_shards.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/sampling/sampler.h"
#include "data/store/preparation.h"
#include "data/store/shard_folder.h"
#include "data/store/shard_plan.h"
#include "data/text/parquet_reader.h"
#include "data/text/text_source.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

#define EXPECT_SAYS(part, status) \
  EXPECT_TRUE(absl::StrContains((status).message(), part)) << (status)

class PrepareShardsTest : public DataTest {
 protected:
  void SetUp() override {
    fs::create_directories(Path("in"));
    WriteText("in/a.jsonl", Lines("apple", 200));
    WriteText("in/b.txt", "one\n\ntwo\n\nthree");
    WriteText("in/c.jsonl", Lines("cherry", 80));
    if (CanReadParquet()) {
      fs::copy_file("tests/data/text/parquet/rows.parquet", Path("in/d.parquet"));
    }
    WriteText("in/e.json", R"([{"text": "array one"}, {"text": "array two"}])");
  }

  static std::string Lines(const std::string& word, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) {
      absl::StrAppend(&text, R"({"text": ")", word, " ", i, std::string(i % 50, 'x'), "\"}\n");
    }
    return text;
  }

  PrepareOptions Options(const std::string& output, int workers = 1) const {
    PrepareOptions options;
    options.source.paths = {Path("in")};
    options.source.document_separator = "\n\n";
    options.output_dir = Path(output);
    options.val_fraction = 0.2;
    options.shard_bytes = 3000;
    options.workers = workers;
    options.num_threads = 1;
    options.progress = false;
    return options;
  }

  // The names of the files that two folders do not have alike.
  std::string Difference(const std::string& a, const std::string& b) const {
    std::string names;
    const std::map<std::string, std::string> of_a = Content(a), of_b = Content(b);
    for (const auto& [name, content] : of_a) {
      const auto other = of_b.find(name);
      if (other == of_b.end() || other->second != content)
        absl::StrAppend(&names, a, "/", name, " ");
    }
    for (const auto& [name, content] : of_b) {
      if (of_a.count(name) == 0) absl::StrAppend(&names, b, "/", name, " ");
    }
    return names;
  }

  // Every file of a folder by its name.
  std::map<std::string, std::string> Content(const std::string& output) const {
    std::map<std::string, std::string> content;
    for (const auto& entry : fs::recursive_directory_iterator(Path(output))) {
      if (entry.is_directory()) continue;
      const std::string name = entry.path().lexically_relative(Path(output)).string();
      content[name] = *ReadFile(entry.path().string());
    }
    return content;
  }
  std::string TokensOf(const std::string& path) const {
    const auto store = TokenStore::Open(Path(path));
    EXPECT_TRUE(store.ok()) << store.status();
    if (!store.ok()) return "";
    std::vector<int32_t> tokens(static_cast<size_t>((*store)->num_tokens()));
    EXPECT_TRUE((*store)->Read(0, (*store)->num_tokens(), tokens.data()).ok());
    return absl::StrJoin(tokens, " ");
  }
  void Make(const PrepareOptions& options) {
    const auto result = PrepareStore(options);
    ASSERT_TRUE(result.ok()) << result.status();
  }

  // PrepareStore in another process.
  static pid_t Start(const PrepareOptions& options) {
    const pid_t pid = fork();
    if (pid == 0) _exit(PrepareStore(options).ok() ? 0 : 1);
    return pid;
  }
  static int WaitFor(pid_t pid) {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return status;
  }
};

TEST_F(PrepareShardsTest, TheNumberOfWorkersChangesNoByte) {
  Make(Options("one"));
  EXPECT_GT(Content("one").size(), 10u);
  for (const int workers : {2, 5}) {
    const std::string output = absl::StrCat("of", workers);
    const auto result = PrepareStore(Options(output, workers));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(Difference("one", output), "");
  }
  PrepareOptions threads = Options("threads");
  threads.num_threads = 3;
  Make(threads);
  EXPECT_EQ(Difference("one", "threads"), "");
}

TEST_F(PrepareShardsTest, NotesOfWorkersHoldNoControlCharacters) {
  WriteText("in/\x1B[31m.jsonl", Lines("date", 5) + "\x1B[2J\n");
  PrepareOptions options = Options("noted", 2);
  options.source.on_error = OnError::kSkip;
  testing::internal::CaptureStdout();
  const auto result = PrepareStore(options);
  const std::string out = testing::internal::GetCapturedStdout();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(absl::StrContains(out, "1 damaged record was left out: ")) << out;
  EXPECT_TRUE(absl::StrContains(out, "in/\\x1B[31m.jsonl:6: ")) << out;
  EXPECT_FALSE(absl::StrContains(out, "\x1B")) << out;
}

TEST_F(PrepareShardsTest, ShardsReadAsTheOneStoreOfTheSameText) {
  PrepareOptions options = Options("shards", 2);
  options.val_fraction = 0;
  const auto result = PrepareStore(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->num_shards, 4);
  options.shard_bytes = 0;
  options.workers = 1;
  options.output_dir = Path("store");
  Make(options);
  const auto shards = TokenStore::Open(result->train_path);
  ASSERT_TRUE(shards.ok()) << shards.status();
  const auto store = TokenStore::Open(Path("store/train.h5"));
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(TokensOf("shards/train.h5"), TokensOf("store/train.h5"));
  EXPECT_EQ((*shards)->document_offsets(), (*store)->document_offsets());
  EXPECT_EQ(*(*shards)->ReadSourceFiles(), *(*store)->ReadSourceFiles());
  EXPECT_EQ(*(*shards)->ReadDocumentSources(), *(*store)->ReadDocumentSources());
  EXPECT_EQ((*shards)->num_documents(), result->train_documents);
  EXPECT_TRUE((*shards)->Verify().ok());
  EXPECT_EQ((*shards)->fingerprint(), (*TokenStore::Open(result->train_path))->fingerprint());

  // A run reads the same samples of both, whole and resumed.
  for (const DocumentBoundary boundary : {DocumentBoundary::kReset, DocumentBoundary::kNone}) {
    const SamplerOptions sampling = {.seq_len = 100, .seed = 3, .boundary = boundary};
    const auto of_shards = Sampler::Make({{.store = *shards}}, sampling);
    const auto of_store = Sampler::Make({{.store = *store}}, sampling);
    ASSERT_TRUE(of_shards.ok() && of_store.ok());
    for (const int64_t seen : {0, 7, 400}) {
      const auto a = (*of_shards)->Sample(seen, 50), b = (*of_store)->Sample(seen, 50);
      ASSERT_TRUE(a.ok() && b.ok());
      EXPECT_TRUE(a->tokens == b->tokens && a->targets == b->targets &&
                  a->cu_seqlens == b->cu_seqlens);
    }
  }
}

TEST_F(PrepareShardsTest, TheSizeOfShardsDoesNotChangeWhatIsHeldOut) {
  PrepareOptions options = Options("small");
  Make(options);
  options.output_dir = Path("large");
  options.shard_bytes = 20000;
  Make(options);
  EXPECT_LT(ReadShardPlan(Path("large"))->num_shards(), ReadShardPlan(Path("small"))->num_shards());
  EXPECT_EQ(TokensOf("small/val.h5"), TokensOf("large/val.h5"));
  EXPECT_EQ(TokensOf("small/train.h5"), TokensOf("large/train.h5"));
  const auto train = TokenStore::Open(Path("small/train.h5"));
  const auto val = TokenStore::Open(Path("small/val.h5"));
  EXPECT_TRUE((*train)->CheckSamePreparation(**val).ok());
  const auto all = static_cast<double>((*train)->num_documents() + (*val)->num_documents());
  EXPECT_NEAR(static_cast<double>((*val)->num_documents()) / all, 0.2, 0.06);
  options.seed = 2;
  options.output_dir = Path("seed");
  Make(options);
  EXPECT_NE(TokensOf("seed/val.h5"), TokensOf("large/val.h5"));
}

TEST_F(PrepareShardsTest, AKilledWorkerLosesItsShardAlone) {
  std::string lines;
  for (int i = 0; i < 12000; ++i) {
    absl::StrAppend(&lines, R"({"text": ")", i, std::string(200, 'k'), "\"}\n");
  }
  fs::remove_all(Path("in"));
  fs::create_directories(Path("in"));
  WriteText("in/a.jsonl", lines);
  PrepareOptions options = Options("killed");
  options.shard_bytes = 1 << 18;
  const pid_t pid = Start(options);
  const auto is_within_a_shard = [&] {
    if (!HasShard(Path("killed"), 0)) return false;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(Path("killed"), error)) {
      if (absl::StrContains(entry.path().filename().string(), ".tmp-")) return true;
    }
    return false;
  };
  while (true) {  // it is looked at while it stands still
    ASSERT_EQ(waitpid(pid, nullptr, WNOHANG), 0) << "it ended too early";
    kill(pid, SIGSTOP);
    if (is_within_a_shard()) break;
    kill(pid, SIGCONT);
    usleep(500);
  }
  kill(pid, SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(WaitFor(pid)));
  const std::vector<int64_t> missing =
      MissingShards(Path("killed"), *ReadShardPlan(Path("killed")));
  ASSERT_FALSE(missing.empty());
  const std::string first = Path("killed/shard-00000/train.h5");
  struct stat before = {}, after = {};
  ASSERT_EQ(stat(first.c_str(), &before), 0);
  const absl::Status unfinished = TokenStore::Open(Path("killed/train.h5")).status();
  EXPECT_SAYS("shards are missing", unfinished);
  EXPECT_SAYS(absl::StrCat(missing.size(), " of "), unfinished);

  Make(options);
  ASSERT_EQ(stat(first.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  options.output_dir = Path("whole");
  Make(options);
  EXPECT_EQ(Difference("killed", "whole"), "");
}

TEST_F(PrepareShardsTest, ProcessesThatRaceMakeTheSameShardsTogether) {
  Make(Options("expected"));
  std::vector<pid_t> workers;
  for (int i = 0; i < 3; ++i) workers.push_back(Start(Options("raced", 1 + i % 2)));
  for (const pid_t pid : workers) EXPECT_EQ(WaitFor(pid), 0);
  EXPECT_EQ(Difference("raced", "expected"), "");
}

TEST_F(PrepareShardsTest, ADamagedPlanIsNamedAndMadeAgain) {
  Make(Options("out"));
  const std::map<std::string, std::string> expected = Content("out");
  const std::string plan = *ReadFile(Path("out/shards.json"));
  std::string digit = plan;
  char& size = digit[plan.find("\"bytes\": ") + 9];
  size = size == '9' ? '8' : '9';
  for (const std::string& damaged : {plan.substr(0, plan.size() / 2), digit}) {
    WriteText("out/shards.json", damaged);
    for (const absl::Status& status :
         {PrepareStore(Options("out")).status(), TokenStore::Open(Path("out/train.h5")).status()}) {
      EXPECT_SAYS("shards.json: damaged", status);
      EXPECT_SAYS("remove this file", status);
    }
  }
  WriteText("out/shards.json", "{}");
  EXPECT_SAYS("no plan of shards", PrepareStore(Options("out")).status());
  fs::remove(Path("out/shards.json"));
  Make(Options("out"));
  EXPECT_TRUE(Content("out") == expected);
}

TEST_F(PrepareShardsTest, InputThatChangedUnderAPlanIsNamed) {
  Make(Options("out"));
  const std::string text = Lines("cherry", 80);
  const auto check = [&] {
    std::vector<std::string> notes;
    const absl::Status status = CheckPrepared(Options("out"), *MakeByteTokenizer(), &notes);
    EXPECT_EQ(status, PrepareStore(Options("out")).status());
    return status;
  };
  EXPECT_TRUE(check().ok());
  WriteText("in/c.jsonl", absl::StrCat(text, "{\"text\": \"more\"}\n"));
  EXPECT_SAYS("c.jsonl has changed: it has ", check());
  std::string other = text;
  other[other.size() - 5] = '!';
  WriteText("in/c.jsonl", other);
  EXPECT_SAYS("c.jsonl has changed: its bytes", check());
  WriteText("in/c.jsonl", text);  // another file of the same bytes
  EXPECT_TRUE(check().ok());
  WriteText("in/f.txt", "a new file");
  EXPECT_SAYS("f.txt", check());
  fs::remove(Path("in/f.txt"));
  PrepareOptions options = Options("out");
  options.shard_bytes = 4000;
  EXPECT_SAYS("shard_bytes: it was made with 3000, not 4000", PrepareStore(options).status());
  // Lines that begin elsewhere, behind a shard that is still to be made.
  fs::remove_all(Path("out/shard-00001"));
  std::string moved = Lines("apple", 200);
  moved[static_cast<size_t>(ReadShardPlan(Path("out"))->shards[1][0].end) - 1] = ' ';
  WriteText("in/a.jsonl", moved);
  EXPECT_SAYS("its records begin elsewhere", PrepareStore(Options("out")).status());
}

TEST_F(PrepareShardsTest, TextThatIsGoneLeavesWholeShardsInUse) {
  Make(Options("out"));
  fs::remove(Path("in/b.txt"));
  fs::rename(Path("in"), Path("away"));
  std::vector<std::string> notes;
  EXPECT_TRUE(CheckPrepared(Options("out"), *MakeByteTokenizer(), &notes).ok());
  EXPECT_TRUE(absl::StrContains(absl::StrJoin(notes, "\n"), "no text (any more) at")) << notes[0];
}

TEST_F(PrepareShardsTest, StrangersInTheFolderAreLeftAlone) {
  Make(Options("out"));
  const std::map<std::string, std::string> expected = Content("out");
  WriteText("out/notes.txt", "mine");
  fs::copy(Path("out/shard-00001"), Path("out/shard-00001.old"), fs::copy_options::recursive);
  fs::remove_all(Path("out/shard-00002"));
  Make(Options("out"));
  EXPECT_EQ(*ReadFile(Path("out/notes.txt")), "mine");
  EXPECT_TRUE(fs::exists(Path("out/shard-00001.old/train.h5")));
  fs::remove(Path("out/notes.txt"));
  fs::remove_all(Path("out/shard-00001.old"));
  EXPECT_TRUE(Content("out") == expected);

  // Under a shard's own name.
  fs::rename(Path("out/shard-00001"), Path("kept"));
  fs::create_directories(Path("out/shard-00001"));
  EXPECT_SAYS("shard-00001: this is not the shard", PrepareStore(Options("out")).status());
  fs::remove_all(Path("out/shard-00001"));
  fs::copy(Path("out/shard-00002"), Path("out/shard-00001"), fs::copy_options::recursive);
  EXPECT_SAYS("it is shard 2", TokenStore::Open(Path("out/train.h5")).status());
  PrepareOptions options = Options("other");
  options.shard_bytes = 5000;
  Make(options);
  fs::remove_all(Path("out/shard-00001"));
  fs::rename(Path("other/shard-00001"), Path("out/shard-00001"));
  EXPECT_SAYS("it is of the plan", PrepareStore(Options("out")).status());
}

TEST_F(PrepareShardsTest, WhatNeedsAllDocumentsAtOnceIsRefused) {
  PrepareOptions options = Options("out");
  options.val_documents = 3;
  EXPECT_SAYS("val_documents: shards are made apart", PrepareStore(options).status());
  options = Options("out");
  options.source.dedup = Dedup::kExact;
  EXPECT_SAYS("dedup: exact compares each document with all others",
              PrepareStore(options).status());
  options = Options("out", 0);
  EXPECT_SAYS("workers: expected at least 1", PrepareStore(options).status());
  options = Options("out", 2);
  options.shard_bytes = 0;
  EXPECT_SAYS("workers: one store is made by one process", PrepareStore(options).status());
  options = Options("out");
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  options.source.paths = {Path("pipe")};
  EXPECT_SAYS("a pipe cannot be divided", PrepareStore(options).status());
  WriteText("blank.txt", "  \n");
  options.source.paths = {Path("blank.txt")};
  EXPECT_SAYS("no text in", PrepareStore(options).status());

  Make(Options("shards"));
  options = Options("shards");
  options.shard_bytes = 0;
  EXPECT_SAYS("no shard_bytes is set", PrepareStore(options).status());
  options.output_dir = Path("store");
  Make(options);
  EXPECT_SAYS("it is one store", PrepareStore(Options("store")).status());
}

TEST_F(PrepareShardsTest, ADamagedRecordEndsAllWorkersOrIsCounted) {
  WriteText("in/a.jsonl",
            absl::StrCat(Lines("apple", 100), "{\"text\": broken}\n", Lines("pear", 100)));
  PrepareOptions options = Options("out", 3);
  const absl::Status status = PrepareStore(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_SAYS("a.jsonl (lines from byte ", status);
  options.source.on_error = OnError::kSkip;
  options.output_dir = Path("skipped");
  Make(options);
  int64_t damaged = 0;
  const ShardPlan plan = *ReadShardPlan(Path("skipped"));
  for (int64_t shard = 0; shard < plan.num_shards(); ++shard) {
    const auto made = ReadStorePreparation(ShardPath(Path("skipped"), shard) + "/train.h5");
    ASSERT_TRUE(made.ok()) << made.status();
    damaged += (*ParseJson(*made, "shard"))["left_out"]["damaged_records"].get<int64_t>();
  }
  EXPECT_EQ(damaged, 1);
}

}  // namespace
}  // namespace wyvern
