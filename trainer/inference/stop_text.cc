#include "trainer/inference/stop_text.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace wyvern {

std::string StopText::Add(int32_t token) { return Take(stream_.Add(token)); }

std::string StopText::Rest() {
  if (stopped_) return "";
  const std::string text = Take(stream_.Rest());
  return stopped_ ? text : text + held_;
}

std::string StopText::Take(const std::string& piece) {
  held_ += piece;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  size_t certain = held_.size();
  if (first != std::string::npos) {
    stopped_ = true;
    certain = first;
  } else {
    for (const std::string& stop : stops_) {
      for (size_t length = std::min(stop.size() - 1, held_.size()); length > 0; --length) {
        if (!absl::EndsWith(held_, absl::string_view(stop).substr(0, length))) continue;
        certain = std::min(certain, held_.size() - length);
        break;
      }
    }
  }
  const std::string text = held_.substr(0, certain);
  held_.erase(0, certain);
  return text;
}

}  // namespace wyvern
