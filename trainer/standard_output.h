// Results go to standard output. A disk that is full, or a reader that has left, must not cut them
// off without a word.
#ifndef WYVERN_TRAINER_STANDARD_OUTPUT_H_
#define WYVERN_TRAINER_STANDARD_OUTPUT_H_

#include "absl/status/status.h"

namespace wyvern {

// A write to a pipe or socket without a reader, or beyond the limit on file sizes, becomes an error
// of that write, which would otherwise end the process. For the whole program, once.
void IgnoreWriteSignals();

// Writes what is buffered. Error: something that was printed so far is lost. `reader_left`, if
// given, says whether that is since the reading end of a pipe was closed.
absl::Status FlushOutput(bool* reader_left = nullptr);

// The exit code of the program, given its own: 1 instead of 0, with a message on stderr, if what
// was printed could not be written. Closes standard output.
int CloseOutput(int exit_code);

// Lets a reader that leaves be no error in CloseOutput: what the work is for lies in files.
void OutputIsOnlyALog();

}  // namespace wyvern

#endif  // WYVERN_TRAINER_STANDARD_OUTPUT_H_
