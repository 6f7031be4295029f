// The lines that a long-running command prints, on stdout and in a file that keeps them. Names and
// texts of files may be part of them: all are shown as Printable does (data/io/printable.h).
#ifndef WYVERN_DATA_IO_SAY_H_
#define WYVERN_DATA_IO_SAY_H_

#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

// Prints the text and a newline on stdout.
void Say(absl::string_view text);
// The same on stderr.
void SayError(absl::string_view text);
// Keeps a line that is printed in another way.
void KeepLine(absl::string_view text);

// From now on all of these lines are appended to the file, behind those of earlier processes and a
// line with the time; first come the lines that were said before. At most once in a process. A file
// that cannot be written is left out: a run is not to end for its log.
void KeepWhatIsSaid(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_SAY_H_
