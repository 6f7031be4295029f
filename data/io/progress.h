// One line of progress on stderr: redrawn in place on a terminal, else printed every few seconds.
#ifndef WYVERN_DATA_IO_PROGRESS_H_
#define WYVERN_DATA_IO_PROGRESS_H_

#include <chrono>
#include <string>

namespace wyvern {

class ProgressLine {
 public:
  ProgressLine(std::string label, bool enabled);
  ~ProgressLine();  // ends a line that was drawn

  bool Due() const;  // whether Update would print now
  // done of total in any unit (total 0: unknown); `detail` follows the bar.
  void Update(double done, double total, const std::string& detail);

 private:
  const std::string label_;
  const bool enabled_, terminal_;
  std::chrono::steady_clock::time_point next_;
  bool drawn_ = false;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_PROGRESS_H_
