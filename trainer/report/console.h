#ifndef WYVERN_TRAINER_REPORT_CONSOLE_H_
#define WYVERN_TRAINER_REPORT_CONSOLE_H_

#include <cstdint>
#include <string>

#include "trainer/report/metrics.h"

namespace wyvern {

// A run's lines on stdout: on a terminal one live line that is rewritten every step, otherwise a
// plain line every few steps.
class Console {
 public:
  Console(int64_t total_steps, int64_t plain_every);
  ~Console();  // ends the live line

  // `seconds_left` < 0: not known yet. `flops_per_s` is shown where there is no MFU.
  void Step(const StepMetrics& metrics, double seconds_left, double flops_per_s);
  // A line that stays.
  void Line(const std::string& text);

 private:
  const int64_t total_steps_, plain_every_;
  const bool live_;
  bool line_open_ = false;
};

// "validation 2.1000 (web 2.0000, code 1.5000)"; empty if nothing was measured.
std::string ValidationText(const StepMetrics& metrics);

// "1:02:03", "2:05".
std::string DurationText(double seconds);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_CONSOLE_H_
