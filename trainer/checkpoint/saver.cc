#include "trainer/checkpoint/saver.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/file.h"
#include "kernels/runtime/catch.h"
#include "kernels/runtime/clock.h"
#include "kernels/runtime/memory_text.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/checkpoint/shards.h"

namespace wyvern {
namespace {

constexpr size_t kAlignment = 256;  // of parts in the staging memory
constexpr auto kPeriod = std::chrono::milliseconds(20);

size_t StagedBytes(const TensorPart& part) {
  const size_t bytes = part.values.defined() ? static_cast<size_t>(part.values.nbytes()) : 0;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

CheckpointSaver::CheckpointSaver(std::string run_dir, int keep_last, World* world, Device device,
                                 const CheckpointWriteOptions& options)
    : run_dir_(std::move(run_dir)),
      keep_last_(keep_last),
      world_(world),
      device_(device),
      options_(options) {}

CheckpointSaver::~CheckpointSaver() {
  if (thread_.joinable()) thread_.join();
}

absl::Status CheckpointSaver::Reserve(const std::vector<TensorPart>& parts) {
  size_t bytes = 0;
  for (const TensorPart& part : parts) bytes += StagedBytes(part);
  if (staging_ != nullptr && bytes <= staging_->num_bytes()) return absl::OkStatus();
  staging_.reset();  // never two of them
  staging_ = std::make_unique<StagingBuffer>(device_, bytes);
  if (staging_->ok()) return absl::OkStatus();
  staging_.reset();
  return absl::ResourceExhaustedError(absl::StrCat("out of host memory: asked for ",
                                                   MemoryText(static_cast<double>(bytes)),
                                                   " to copy a checkpoint into"));
}

absl::Status CheckpointSaver::Stage(const std::vector<TensorPart>& parts) {
  RETURN_IF_ERROR(Reserve(parts));
  staged_.clear();
  size_t offset = 0;
  for (const TensorPart& part : parts) {
    const Tensor& values = part.values;
    if (!values.defined() || values.numel() == 0) continue;
    CHECK(values.dtype() == part.tensor.dtype, part.tensor.name, " is ", Name(values.dtype()));
    staging_->CopyFrom(values.raw(), values.device(), offset, static_cast<size_t>(values.nbytes()));
    staged_.push_back({part.tensor, part.begin, part.begin + values.numel(), offset});
    offset += StagedBytes(part);
  }
  return absl::OkStatus();
}

absl::Status CheckpointSaver::Start(CheckpointContents contents) {
  CHECK(phase_ == Phase::kNone, "a checkpoint is being written already");
  began_ = MonotonicSeconds();
  const std::string target = CheckpointFolder(run_dir_, contents.step);
  std::vector<CheckpointTensor> tensors;
  int64_t num_bytes = 0;
  for (const TensorPart& part : contents.parts) {
    tensors.push_back(part.tensor);
    num_bytes += NumBytes(part.tensor);
  }
  const auto prepare = [&]() -> absl::StatusOr<std::string> {
    RETURN_IF_ERROR(CheckTensorNames(tensors));
    return MakeTemporaryFolder(target, num_bytes);
  };
  const absl::StatusOr<std::string> temporary = world_->rank() == 0 ? prepare() : std::string();
  RETURN_IF_ERROR(Agree(world_->host(), temporary.status()));
  temporary_ = GatherTexts(world_->host(), *temporary).front();
  const absl::Status staged =
      Agree(world_->host(), CatchAll([&] { return Stage(contents.parts); }));
  if (!staged.ok()) {
    RemoveTemporary();
    return NotWritten(target, staged);
  }
  for (TensorPart& part : contents.parts) part.values = Tensor();
  contents_ = std::move(contents);
  result_ = {.step = contents_.step, .stall_ms = 1e3 * (MonotonicSeconds() - began_)};
  phase_ = Phase::kWriting;
  RunThread([this] { return WriteShards(); });
  return absl::OkStatus();
}

void CheckpointSaver::RunThread(std::function<absl::Status()> work) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    busy_ = true;
  }
  const auto end = [this](absl::Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    thread_status_ = std::move(status);
    busy_ = false;
    changed_.notify_all();
  };
  const absl::Status started = CatchAll([&] {
    thread_ = std::thread([end, work = std::move(work)] { end(CatchAll(work)); });
    return absl::OkStatus();
  });
  if (!started.ok()) end(started);
}

absl::Status CheckpointSaver::WriteShards() {
  written_ = Manifest();
  if (staged_.empty()) return absl::OkStatus();
  std::error_code error;
  if (!std::filesystem::is_directory(temporary_, error)) {
    return absl::NotFoundError(absl::StrCat(
        temporary_, ", which rank 0 has made, is not there on ", world_->host_name(world_->rank()),
        "; run.dir must be a folder that the ranks of all nodes share"));
  }
  ShardWriter writer(temporary_, absl::StrFormat("rank-%05d-", world_->rank()),
                     options_.max_shard_bytes);
  for (const StagedPart& part : staged_) {
    RETURN_IF_ERROR(writer.Add(part.tensor, part.begin, part.end, staging_->data() + part.offset));
  }
  RETURN_IF_ERROR(writer.Finish());
  RETURN_IF_ERROR(SyncPath(temporary_));
  written_ = writer.written();
  result_.num_bytes = writer.num_bytes();
  return absl::OkStatus();
}

absl::Status CheckpointSaver::Publish(const std::vector<std::string>& texts) {
  Manifest manifest{.step = contents_.step, .meta = std::move(contents_.meta)};
  // In the order of the parts, and those without elements too.
  for (const TensorPart& part : contents_.parts) manifest.tensors.push_back({part.tensor, {}});
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const Manifest part, ManifestPartFromText(text));
    RETURN_IF_ERROR(AddManifestPart(part, &manifest));
  }
  if (contents_.before_publishing != nullptr) RETURN_IF_ERROR(contents_.before_publishing());
  RETURN_IF_ERROR(
      PublishCheckpoint(temporary_, CheckpointFolder(run_dir_, contents_.step), manifest));
  RETURN_IF_ERROR(SyncPath(run_dir_));
  return RotateCheckpoints(run_dir_, contents_.step, keep_last_, options_.keep_every);
}

bool CheckpointSaver::busy() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return busy_;
}

std::optional<SavedCheckpoint> CheckpointSaver::Advance(bool any_busy) {
  if (phase_ == Phase::kNone || any_busy) return std::nullopt;
  Communicator& host = world_->host();
  if (thread_.joinable()) thread_.join();
  const absl::Status status = Agree(host, std::exchange(thread_status_, absl::OkStatus()));
  if (!status.ok() || phase_ == Phase::kPublishing) return Finish(status);

  host.AllReduce(&result_.num_bytes, &result_.num_bytes, 1, DType::kInt64);
  host.AllReduce(&result_.stall_ms, &result_.stall_ms, 1, DType::kFloat64, ReduceOp::kMax);
  std::vector<std::string> texts = GatherTexts(host, ManifestPartToText(written_));
  phase_ = Phase::kPublishing;
  if (world_->rank() == 0) RunThread([this, texts = std::move(texts)] { return Publish(texts); });
  return std::nullopt;
}

std::optional<SavedCheckpoint> CheckpointSaver::Wait() {
  while (in_flight()) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_for(lock, kPeriod, [this] { return !busy_; });
    }
    int32_t any_busy = busy() ? 1 : 0;
    world_->host().AllReduce(&any_busy, &any_busy, 1, DType::kInt32, ReduceOp::kMax);
    if (std::optional<SavedCheckpoint> saved = Advance(any_busy != 0)) return saved;
  }
  return std::nullopt;
}

void CheckpointSaver::RemoveTemporary() {
  std::error_code error;
  if (world_->rank() == 0) std::filesystem::remove_all(temporary_, error);
}

SavedCheckpoint CheckpointSaver::Finish(const absl::Status& status) {
  phase_ = Phase::kNone;
  result_.seconds = MonotonicSeconds() - began_;
  if (!status.ok()) {
    result_.status = NotWritten(CheckpointFolder(run_dir_, contents_.step), status);
    RemoveTemporary();
  }
  contents_ = CheckpointContents();
  return std::move(result_);
}

}  // namespace wyvern
