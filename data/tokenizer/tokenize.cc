#include "data/tokenizer/tokenize.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "kernels/runtime/catch.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr int64_t kJobBytes = int64_t{1} << 18;

// A run of pieces that one thread encodes.
struct Job {
  std::vector<TextPiece> pieces;
  std::vector<TokenizedPiece> results;
  absl::Status status;  // of encoding
  int64_t bytes = 0;    // of text
  int64_t file_bytes_read = 0;
  bool done = false;
};

class Pipeline {
 public:
  Pipeline(TextSource* source, const Tokenizer& tokenizer, const ChatTemplate* chat,
           OnError on_error, int num_threads)
      : source_(source),
        tokenizer_(tokenizer),
        chat_(chat),
        on_error_(on_error),
        max_bytes_(4 * num_threads * kJobBytes) {
    const absl::Status started = CatchAll([&] {
      threads_.reserve(1 + static_cast<size_t>(num_threads));
      threads_.emplace_back([this] { ReadAll(); });
      for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { EncodeAll(); });
      return absl::OkStatus();
    });
    // Where the system has no more threads, fewer will do: a reader and one that encodes.
    if (threads_.size() < 2) {
      Stop();
      Fail(started);
    }
  }

  ~Pipeline() {
    Stop();
    for (std::thread& thread : threads_) thread.join();
  }

  // The next job in order, encoded; nullptr at the end or after an error.
  std::shared_ptr<Job> Next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return jobs_.empty() ? read_all_ : jobs_.front()->done; });
    if (jobs_.empty()) return nullptr;
    std::shared_ptr<Job> job = std::move(jobs_.front());
    jobs_.pop_front();
    bytes_ -= job->bytes;
    changed_.notify_all();
    return job;
  }

  absl::Status read_status() {
    std::lock_guard lock(mutex_);
    return read_status_;
  }

 private:
  // Nothing is read or encoded any more.
  void Stop() {
    std::lock_guard lock(mutex_);
    stop_ = true;
    jobs_.clear();
    changed_.notify_all();
  }

  // Ends the reading. What was read before is still encoded.
  void Fail(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    read_all_ = true;
    read_status_ = status;
    changed_.notify_all();
  }

  void ReadAll() {
    const absl::Status status = CatchAll([this] { return Read(); });
    if (!status.ok()) Fail(status);
  }

  absl::Status Read() {
    absl::Status status;
    bool more = true;
    while (more) {
      auto job = std::make_shared<Job>();
      while (more && job->bytes < kJobBytes) {
        TextPiece piece;
        const absl::StatusOr<bool> found = source_->Next(&piece);
        if (!found.ok()) status = found.status();
        more = found.ok() && *found;
        if (!more) break;
        job->bytes += static_cast<int64_t>(piece.text.size());
        job->pieces.push_back(std::move(piece));
      }
      job->file_bytes_read = source_->file_bytes_read();
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || bytes_ < max_bytes_; });
      if (stop_) return absl::OkStatus();
      if (!job->pieces.empty()) {
        bytes_ += job->bytes;
        jobs_.push_back(job);
        waiting_.push_back(job);
      }
      if (!more) {
        read_all_ = true;
        read_status_ = status;
      }
      changed_.notify_all();
    }
    return status;
  }

  absl::Status Encode(Job* job) const {
    for (const TextPiece& piece : job->pieces) {
      TokenizedPiece result;
      result.source = piece.source;
      result.position = piece.position;
      result.ends_document = piece.ends_document;
      if (chat_ != nullptr) {
        result.damage = EncodeChat(piece, &result);
        if (on_error_ == OnError::kError) RETURN_IF_ERROR(result.damage);
      } else {
        result.tokens = tokenizer_.Encode(piece.text);
        result.text_bytes = static_cast<int64_t>(piece.text.size());
      }
      job->results.push_back(std::move(result));
    }
    job->pieces = {};
    return absl::OkStatus();
  }

  absl::Status EncodeChat(const TextPiece& piece, TokenizedPiece* result) const {
    const std::string origin = absl::StrCat(source_->files()[piece.source], ":", piece.line);
    ASSIGN_OR_RETURN(const nlohmann::ordered_json record, ParseOrderedJson(piece.text, origin));
    const absl::StatusOr<ChatText> chat = chat_->Render(record);
    if (!chat.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(origin, ": ", chat.status().message()));
    }
    size_t at = 0;
    const auto encode_to = [&](size_t end, bool is_learnt) {
      if (at == end) return;
      const absl::string_view part = absl::string_view(chat->text).substr(at, end - at);
      const std::vector<int32_t> ids =
          at == 0 ? tokenizer_.Encode(part) : tokenizer_.EncodeBehind(part);
      result->tokens.insert(result->tokens.end(), ids.begin(), ids.end());
      result->learnt.resize(result->tokens.size(), is_learnt ? 1 : 0);
      at = end;
    };
    for (const auto& [begin, end] : chat->targets) {
      encode_to(begin, false);
      encode_to(end, true);
    }
    encode_to(chat->text.size(), false);
    result->text_bytes = static_cast<int64_t>(chat->text.size());
    result->needs_eos = chat->needs_eos;
    return absl::OkStatus();
  }

  void EncodeAll() {
    while (true) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stop_ || !waiting_.empty() || read_all_; });
        if (stop_ || waiting_.empty()) return;
        job = std::move(waiting_.front());
        waiting_.pop_front();
      }
      job->status = CatchAll([&] { return Encode(job.get()); });
      {
        std::lock_guard lock(mutex_);
        job->done = true;
      }
      changed_.notify_all();
    }
  }

  TextSource* const source_;
  const Tokenizer& tokenizer_;
  const ChatTemplate* const chat_;  // null: text
  const OnError on_error_;
  const int64_t max_bytes_;  // of text; one document of any size may come on top
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> jobs_;     // in order; read and not yet handed out
  int64_t bytes_ = 0;                         // of the text in jobs_
  std::deque<std::shared_ptr<Job>> waiting_;  // of these, not yet taken by a thread
  bool read_all_ = false, stop_ = false;
  absl::Status read_status_;
  std::vector<std::thread> threads_;
};

}  // namespace

LongDocuments LongDocumentsOf(const Tokenizer& tokenizer) {
  return tokenizer.is_bytewise() ? LongDocuments::kInPieces : LongDocuments::kWhole;
}

absl::Status Tokenize(TextSource* source, const Tokenizer& tokenizer, const ChatTemplate* chat,
                      OnError on_error, int num_threads,
                      const std::function<absl::Status(const TokenizedPiece&, int64_t)>& consume) {
  Pipeline pipeline(source, tokenizer, chat, on_error, ThreadCount(num_threads));
  while (const std::shared_ptr<Job> job = pipeline.Next()) {
    if (!job->status.ok()) return job->status;
    for (const TokenizedPiece& piece : job->results) {
      const absl::Status status = consume(piece, job->file_bytes_read);
      if (!status.ok()) return status;
    }
  }
  return pipeline.read_status();
}

int ThreadCount(int requested) {
  if (requested > 0) return requested;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace wyvern
