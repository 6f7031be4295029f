#ifndef WYVERN_TRAINER_SERVER_TEXT_CHANNEL_H_
#define WYVERN_TRAINER_SERVER_TEXT_CHANNEL_H_

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "trainer/server/model_worker.h"

namespace wyvern {

// Texts from the thread that runs the model to the one that sends them, which may be slower. All
// calls may come from any thread.
class TextChannel {
 public:
  struct Text {
    size_t choice;
    std::string text;
  };

  // Returns whether the reader still wants texts.
  bool Put(size_t choice, const std::string& text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    texts_.push_back({choice, text});
    changed_.notify_all();
    return !abandoned_;
  }
  // No text follows.
  void Close(absl::StatusOr<ModelAnswer> answer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    answer_ = std::move(answer);
    changed_.notify_all();
  }
  // The reader has left.
  void Abandon() {
    const std::lock_guard<std::mutex> lock(mutex_);
    abandoned_ = true;
  }

  // Waits for the next text; nothing once all are taken and no more follow.
  std::optional<Text> Take() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return answer_.has_value() || !texts_.empty(); });
    if (texts_.empty()) return std::nullopt;
    Text text = std::move(texts_.front());
    texts_.pop_front();
    return text;
  }
  // After Take gave nothing.
  const absl::StatusOr<ModelAnswer>& answer() const { return *answer_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Text> texts_;
  std::optional<absl::StatusOr<ModelAnswer>> answer_;
  bool abandoned_ = false;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SERVER_TEXT_CHANNEL_H_
