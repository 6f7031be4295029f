// Results go to standard output. A disk that is full, or a reader that has left, must not cut them
// off without a word.
#ifndef WYVERN_TRAINER_REPORT_STANDARD_OUTPUT_H_
#define WYVERN_TRAINER_REPORT_STANDARD_OUTPUT_H_

#include "absl/status/status.h"

namespace wyvern {

// A write to a pipe or socket without a reader, or beyond the limit on file sizes, becomes an error
// of that write, which would otherwise end the process. For the whole program, once.
void IgnoreWriteSignals();

// Standard input, output and error, where closed, stay unwritable but are taken: a file that is
// opened later must not get their number, and with it what is printed. For the whole program, once.
void HoldStandardStreams();

// Writes what is buffered. Error: something that was printed so far is lost.
absl::Status FlushOutput();

// The exit code of the program, given its own: 1 instead of 0, with a message on stderr, if what
// was printed could not be written. Closes standard output.
int CloseOutput(int exit_code);

// Makes a loss no error in CloseOutput, only a warning: what the work is for lies in files.
void OutputIsOnlyALog();

// The user knows already: no warning of CloseOutput.
void OutputLossIsTold();

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_STANDARD_OUTPUT_H_
