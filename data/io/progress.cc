#include "data/io/progress.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "data/io/terminal.h"

namespace wyvern {
namespace {

constexpr auto kTerminalPeriod = std::chrono::milliseconds(100);
constexpr auto kLogPeriod = std::chrono::seconds(5);

}  // namespace

ProgressLine::ProgressLine(std::string label, bool enabled)
    : label_(std::move(label)),
      enabled_(enabled),
      terminal_(StderrIsTerminal()),
      next_(std::chrono::steady_clock::now() +
            (terminal_ ? std::chrono::steady_clock::duration(kTerminalPeriod) : kLogPeriod)) {}

ProgressLine::~ProgressLine() {
  if (drawn_) std::fputc('\n', stderr);
}

bool ProgressLine::Due() const { return enabled_ && std::chrono::steady_clock::now() >= next_; }

void ProgressLine::Update(double done, double total, const std::string& detail) {
  if (!Due()) return;
  next_ = std::chrono::steady_clock::now() +
          (terminal_ ? std::chrono::steady_clock::duration(kTerminalPeriod) : kLogPeriod);
  const double share = total > 0 ? std::clamp(done / total, 0.0, 1.0) : 0;
  if (!terminal_) {
    std::fprintf(stderr, "%s %3.0f%%  %s\n", label_.c_str(), 100 * share, detail.c_str());
    return;
  }
  constexpr int kWidth = 30;
  const int filled = static_cast<int>(share * kWidth);
  std::fprintf(stderr, "\r\033[K%s [%s%s] %3.0f%%  %s", label_.c_str(),
               std::string(filled, '#').c_str(), std::string(kWidth - filled, '.').c_str(),
               100 * share, detail.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace wyvern
