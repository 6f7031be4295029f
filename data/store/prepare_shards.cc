#include "data/store/prepare_shards.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/byte_stream.h"
#include "data/io/file.h"
#include "data/io/file_stamp.h"
#include "data/io/output.h"
#include "data/io/progress.h"
#include "data/io/say.h"
#include "data/store/made_from.h"
#include "data/store/preparation.h"
#include "data/store/shard_folder.h"
#include "data/store/shard_plan.h"
#include "data/store/split_stores.h"
#include "data/store/text_input.h"
#include "data/store/token_store.h"
#include "data/store/worker_processes.h"
#include "data/text/text_files.h"
#include "data/tokenizer/tokenize.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Clock = std::chrono::steady_clock;

// A plan, with the input as it is now.
struct ShardJob {
  const PrepareOptions& options;
  const Tokenizer& tokenizer;
  ShardPlan plan = {};
  std::vector<std::string> paths = {};  // of the plan's files; empty: it is missing
  std::vector<FileStamp> stamps = {};   // of these

  const std::string& dir() const { return options.output_dir; }
};

// A file, or part of one, as the shards that are there have it.
absl::Status CheckContent(const ShardJob& job, const std::set<int64_t>& files) {
  for (int64_t shard = 0; shard < job.plan.num_shards(); ++shard) {
    const std::vector<ShardPlan::Part>& parts = job.plan.shards[static_cast<size_t>(shard)];
    const bool is_asked = std::any_of(parts.begin(), parts.end(),
                                      [&](const auto& part) { return files.count(part.file) > 0; });
    if (!is_asked || !HasShard(job.dir(), shard)) continue;
    ASSIGN_OR_RETURN(const ShardInfo info, ReadShardInfo(job.dir(), job.plan, shard));
    for (size_t i = 0; i < parts.size(); ++i) {
      if (files.count(parts[i].file) == 0) continue;
      const std::string& path = job.paths[static_cast<size_t>(parts[i].file)];
      ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> stream,
                       ByteStream::OpenRange(path, parts[i].begin, parts[i].end));
      std::string buffer(size_t{1} << 20, '\0');
      while (true) {
        ASSIGN_OR_RETURN(const size_t got, stream->Read(buffer.data(), buffer.size()));
        if (got == 0) break;
      }
      if (stream->file_crc32() == info.crc32[i]) continue;
      return MadeOtherwise(
          job.dir(),
          absl::StrFormat("%s has changed: its bytes %d to %d have CRC-32 %08x, %s was made from "
                          "bytes with CRC-32 %08x",
                          path, parts[i].begin, parts[i].end, stream->file_crc32(),
                          ShardPath(job.dir(), shard), info.crc32[i]));
    }
  }
  return absl::OkStatus();
}

// Compares the plan with the options and the files, which `job` gets. A file with another time is
// compared by its content; afterwards the plan has the new time.
absl::Status Compare(ShardJob* job, const TextFiles& found) {
  const std::string& dir = job->dir();
  ShardPlan& plan = job->plan;
  ASSIGN_OR_RETURN(const nlohmann::json options, DescribeOptions(job->options, job->tokenizer));
  // As text and back, as bytes that are not UTF-8 were lost on that way.
  ASSIGN_OR_RETURN(const nlohmann::json wanted, ParseJson(JsonText(options), dir));
  const std::string difference = OptionDifference(wanted, plan.options);
  if (!difference.empty()) return MadeOtherwise(dir, difference);
  nlohmann::json files = nlohmann::json::array();
  for (const ShardPlan::File& file : plan.files) files.push_back({{"name", file.name}});
  ASSIGN_OR_RETURN(job->paths, PresentPaths(dir, found.paths, found.missing, files));
  job->stamps.resize(plan.files.size());
  std::set<int64_t> touched;
  for (size_t i = 0; i < plan.files.size(); ++i) {
    if (job->paths[i].empty()) continue;
    ASSIGN_OR_RETURN(job->stamps[i], StampOf(job->paths[i]));
    if (job->stamps[i].bytes != plan.files[i].bytes) {
      return MadeOtherwise(
          dir, absl::StrCat(job->paths[i], " has changed: it has ", job->stamps[i].bytes,
                            " bytes, it had ", plan.files[i].bytes));
    }
    const bool is_same = plan.files[i].modified_ns == job->stamps[i].modified_ns;
    if (!is_same) touched.insert(static_cast<int64_t>(i));
  }
  if (touched.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckContent(*job, touched));
  if (found.missing.empty() && !MissingShards(dir, plan).empty()) {
    // Records of what is still to be read may begin elsewhere.
    std::vector<std::string> paths;
    ASSIGN_OR_RETURN(const ShardPlan now, PlanShards(job->options, job->tokenizer, &paths));
    if (now.id() != plan.id()) {
      return MadeOtherwise(dir, absl::StrCat(job->paths[static_cast<size_t>(*touched.begin())],
                                             " has changed: its records begin elsewhere"));
    }
  }
  for (const int64_t i : touched) {
    const FileStamp& stamp = job->stamps[static_cast<size_t>(i)];
    plan.files[static_cast<size_t>(i)].modified_ns = stamp.modified_ns;
  }
  // Where it cannot be written, the next start compares the content again.
  WriteShardPlan(dir, plan).IgnoreError();
  return absl::OkStatus();
}

// The plan of the folder, which is made if there is none.
absl::StatusOr<ShardJob> OpenJob(const PrepareOptions& options, const Tokenizer& tokenizer,
                                 MissingText missing, std::vector<std::string>* notes) {
  ShardJob job{.options = options, .tokenizer = tokenizer};
  if (!IsShardFolder(options.output_dir)) {
    ASSIGN_OR_RETURN(const ShardPlan plan, PlanShards(options, tokenizer, &job.paths));
    RETURN_IF_ERROR(MakeFolders(options.output_dir));
    RETURN_IF_ERROR(AddShardPlan(options.output_dir, plan));
  }
  ASSIGN_OR_RETURN(job.plan, ReadShardPlan(options.output_dir));
  ASSIGN_OR_RETURN(const TextFiles found,
                   FindTextFiles(options.source.paths, options.source.field, missing));
  if (missing == MissingText::kError)
    notes->insert(notes->end(), found.notes.begin(), found.notes.end());
  NoteMissing(options.output_dir, found.paths, found.missing, notes);
  RETURN_IF_ERROR(Compare(&job, found));
  return job;
}

absl::Status CheckStamps(const ShardJob& job, int64_t shard) {
  for (const ShardPlan::Part& part : job.plan.shards[static_cast<size_t>(shard)]) {
    const auto file = static_cast<size_t>(part.file);
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(job.paths[file]));
    if (IsSameStamp(stamp, job.stamps[file])) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        job.paths[file], " changed while it was read; prepare again when nothing writes to it"));
  }
  return absl::OkStatus();
}

// Fills the folder that `claim` gives its name.
absl::Status MakeShard(const ShardJob& job, int64_t shard, Output* claim) {
  PrepareOptions options = job.options;
  options.progress = job.options.progress && (job.options.workers == 1 || !job.options.may_fork);
  const std::vector<ShardPlan::Part>& parts = job.plan.shards[static_cast<size_t>(shard)];
  const TextParts text_parts = {
      .parts = job.plan.PartsOf(shard, job.paths), .key = [&](int32_t part, int64_t position) {
        const Random keys(options.seed, absl::StrCat("held-out documents of file ",
                                                     parts[static_cast<size_t>(part)].file));
        return keys.Uniform(static_cast<uint64_t>(position));
      }};
  TextInput text(options, job.tokenizer, &text_parts);
  RETURN_IF_ERROR(text.Open());
  RETURN_IF_ERROR(CheckStamps(job, shard));
  RETURN_IF_ERROR(MakeFolders(claim->temporary()));
  const SplitOptions split = {.output_dir = claim->temporary()};
  ASSIGN_OR_RETURN(std::unique_ptr<SplitStores> stores,
                   SplitStores::Create(split, job.tokenizer, options.val_fraction, text.is_chat()));
  RETURN_IF_ERROR(text.Read(stores.get()));
  RETURN_IF_ERROR(CheckStamps(job, shard));
  RETURN_IF_ERROR(stores->Complete(
      text.source().files(),
      DescribeShard(job.plan, shard, text.source().read_files(), DescribeLeftOut(options, text))));
  RETURN_IF_ERROR(stores->Commit());
  stores = nullptr;  // removes the temporary file of a val.h5 without documents
  // The claim ends shortly before the name comes, so that another worker may have begun meanwhile.
  const absl::Status committed = claim->Commit();
  if (!HasShard(job.dir(), shard)) RETURN_IF_ERROR(committed);
  for (const std::string& note : text.Notes()) {
    Say(absl::StrCat(ShardPath(job.dir(), shard), ": note: ", note));
  }
  return absl::OkStatus();
}

// Makes what is missing until nothing is. `first`: the place among the missing ones to begin at, so
// that workers of one machine do not all ask for the same shards.
absl::Status MakeShards(const ShardJob& job, int64_t first) {
  std::vector<int64_t> missing = MissingShards(job.dir(), job.plan);
  if (!missing.empty()) {
    std::rotate(missing.begin(), missing.begin() + first % static_cast<int64_t>(missing.size()),
                missing.end());
  }
  bool has_said = false;
  while (!missing.empty()) {
    std::vector<int64_t> of_others;
    std::string other;
    for (const int64_t shard : missing) {
      if (HasShard(job.dir(), shard)) continue;
      absl::StatusOr<Output> claim = Output::Claim(ShardPath(job.dir(), shard));
      if (absl::IsAborted(claim.status())) {
        of_others.push_back(shard);
        other = std::string(claim.status().message());
        continue;
      }
      RETURN_IF_ERROR(claim.status());
      // It may have come between the question and the claim.
      if (!HasShard(job.dir(), shard)) RETURN_IF_ERROR(MakeShard(job, shard, &*claim));
    }
    if (!of_others.empty() && of_others.size() == missing.size()) {
      if (!std::exchange(has_said, true) && job.options.progress) {
        SayError(absl::StrCat("prepare: waiting for ", of_others.size(),
                              " shards of other processes: ", other));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    missing = std::move(of_others);
  }
  return absl::OkStatus();
}

absl::Status MakeShardsInProcesses(ShardJob* job) {
  PrepareOptions options = job->options;
  if (options.num_threads == 0) {
    options.num_threads = std::max(1, ThreadCount(0) / options.workers);
  }
  const ShardJob divided{options, job->tokenizer, job->plan, job->paths, job->stamps};
  const int64_t missing = static_cast<int64_t>(MissingShards(job->dir(), job->plan).size());
  const int64_t total = job->plan.num_shards();
  const int workers = static_cast<int>(std::min<int64_t>(options.workers, missing));
  ProgressLine progress("prepare", options.progress);
  return RunInProcesses(
      workers, [&](int worker) { return MakeShards(divided, worker * missing / workers); },
      [&] {
        if (!progress.Due()) return;
        const auto left = static_cast<int64_t>(MissingShards(job->dir(), job->plan).size());
        progress.Update(static_cast<double>(total - left), static_cast<double>(total),
                        absl::StrCat(total - left, " of ", total, " shards"));
      });
}

}  // namespace

absl::Status CheckFolderForShards(const PrepareOptions& options) {
  const std::string& dir = options.output_dir;
  if (options.shard_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard_bytes: expected at least 0 (0: one store), got ", options.shard_bytes));
  }
  if (options.workers < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("workers: expected at least 1, got ", options.workers));
  }
  if (options.shard_bytes == 0) {
    if (options.workers > 1) {
      return absl::InvalidArgumentError(
          "workers: one store is made by one process, with threads; set shard_bytes to make shards "
          "in several");
    }
    if (IsShardFolder(dir)) {
      return MadeOtherwise(dir, "its stores are divided into shards, and no shard_bytes is set");
    }
    return absl::OkStatus();
  }
  std::error_code error;
  if (!IsShardFolder(dir) && std::filesystem::exists(dir + "/train.h5", error)) {
    return MadeOtherwise(dir, "it is one store, and shard_bytes is set");
  }
  if (options.val_documents > 0) {
    return absl::InvalidArgumentError(
        "val_documents: shards are made apart from one another, and this number needs all "
        "documents "
        "counted; hold out a share of them instead (val_fraction)");
  }
  if (options.source.dedup == Dedup::kExact) {
    return absl::InvalidArgumentError(
        "dedup: exact compares each document with all others, and shards are made apart from one "
        "another; leave shard_bytes out to make one store, or remove duplicates before");
  }
  return absl::OkStatus();
}

absl::StatusOr<PrepareResult> PrepareShards(const PrepareOptions& options,
                                            const Tokenizer& tokenizer) {
  const auto start = Clock::now();
  PrepareResult result;
  ASSIGN_OR_RETURN(ShardJob job, OpenJob(options, tokenizer, MissingText::kError, &result.notes));
  // Shards of another plan show before hours of work.
  for (int64_t shard = 0; shard < job.plan.num_shards(); ++shard) {
    if (!HasShard(job.dir(), shard)) continue;
    RETURN_IF_ERROR(ReadShardInfo(job.dir(), job.plan, shard).status());
  }
  const bool is_alone = options.workers == 1 || !options.may_fork;
  RETURN_IF_ERROR(is_alone ? MakeShards(job, 0) : MakeShardsInProcesses(&job));
  result.num_shards = job.plan.num_shards();
  for (int64_t shard = 0; shard < job.plan.num_shards(); ++shard) {
    ASSIGN_OR_RETURN(const ShardInfo info, ReadShardInfo(job.dir(), job.plan, shard));
    result.train_documents += info.train_documents;
    result.val_documents += info.val_documents;
    result.train_tokens += info.train_tokens;
    result.val_tokens += info.val_tokens;
  }
  if (result.train_documents + result.val_documents == 0) {
    return absl::InvalidArgumentError(absl::StrCat("no text in ",
                                                   absl::StrJoin(options.source.paths, ", "),
                                                   ": the files are empty or blank"));
  }
  result.has_separator = !options.source.document_separator.empty();
  if (result.has_separator &&
      result.train_documents + result.val_documents <= static_cast<int64_t>(job.paths.size())) {
    result.notes.push_back("the document_separator never occurs, so every file is one document");
  }
  result.train_path = absl::StrCat(job.dir(), "/train.h5");
  if (result.val_documents > 0) result.val_path = absl::StrCat(job.dir(), "/val.h5");
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return result;
}

absl::Status CheckShards(const PrepareOptions& options, const Tokenizer& tokenizer,
                         std::vector<std::string>* notes) {
  return OpenJob(options, tokenizer, MissingText::kMark, notes).status();
}

}  // namespace wyvern
