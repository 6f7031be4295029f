#include "trainer/report/console.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/say.h"
#include "data/io/terminal.h"

namespace wyvern {
namespace {

// A longer live line would wrap and could not be rewritten.
size_t TerminalWidth() {
  const int columns = StdoutSize().columns;
  return columns > 0 ? static_cast<size_t>(columns) : 80;
}

}  // namespace

std::string DurationText(double seconds) {
  const int64_t s = std::llround(seconds);
  if (s >= 3600) return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  return absl::StrFormat("%d:%02d", s / 60, s % 60);
}

std::string ValidationText(const StepMetrics& metrics) {
  if (!metrics.val_loss.has_value() && metrics.sets.empty()) return "";
  std::string text = "validation";
  if (metrics.val_loss.has_value()) absl::StrAppendFormat(&text, " %.4f", *metrics.val_loss);
  for (const SetMetrics& set : metrics.sets) {
    absl::StrAppendFormat(&text, "%s%s %.4f", &set == &metrics.sets[0] ? " (" : ", ", set.name,
                          set.loss);
  }
  return metrics.sets.empty() ? text : text + ")";
}

Console::Console(int64_t total_steps, int64_t plain_every)
    : total_steps_(total_steps), plain_every_(plain_every), live_(StdoutIsTerminal()) {}

Console::~Console() {
  if (line_open_) std::printf("\n");
  std::fflush(stdout);
}

void Console::Step(const StepMetrics& m, double seconds_left, double flops_per_s) {
  const bool is_plain_due = m.step % plain_every_ == 0 || m.step == total_steps_;
  if (!live_ && !is_plain_due) return;
  std::string text =
      absl::StrFormat("step %d/%d  loss %.4f  lr %.3g  %.0f tokens/s", m.step, total_steps_,
                      m.loss.value_or(0), m.lr.value_or(0), m.tokens_per_s.value_or(0));
  if (m.mfu.has_value()) {
    absl::StrAppendFormat(&text, "  MFU %.1f%%", 100 * *m.mfu);
  } else {
    absl::StrAppendFormat(&text, "  %.1f GFLOP/s", flops_per_s / 1e9);
  }
  if (m.waiting.has_value()) {
    absl::StrAppendFormat(&text, "  waiting %.0f%% (rank %d: %.0f%%)", 100 * *m.waiting,
                          m.slowest_rank.value_or(0), 100 * m.waiting_slowest.value_or(0));
  }
  double load = 0;
  for (const ExpertMetrics& e : m.experts) load = std::max(load, e.max_load);
  if (load > 0) absl::StrAppendFormat(&text, "  load %.2fx", load);
  const std::string validation = ValidationText(m);
  if (!validation.empty()) absl::StrAppend(&text, "  ", validation);
  if (seconds_left >= 0) absl::StrAppend(&text, "  ", DurationText(seconds_left), " left");
  if (live_) {
    std::printf("\r\033[K%s", text.substr(0, TerminalWidth() - 1).c_str());
    line_open_ = true;
    std::fflush(stdout);
    if (is_plain_due) KeepLine(text);
  } else {
    Say(text);
  }
}

void Console::Line(const std::string& text) {
  if (line_open_) std::printf("\r\033[K");
  line_open_ = false;
  Say(text);
}

}  // namespace wyvern
