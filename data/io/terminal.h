// Who looks at what the program prints.
#ifndef WYVERN_DATA_IO_TERMINAL_H_
#define WYVERN_DATA_IO_TERMINAL_H_

namespace wyvern {

// Whether someone looks at stdout. mpirun gives a rank a terminal wherever its own output goes;
// only WYVERN_TERMINAL, 0 or 1, which scripts/launch sets, says whether that is one.
bool StdoutIsTerminal();
bool StderrIsTerminal();

// The size of stdout's terminal; 0 where it does not say.
struct TerminalSize {
  int columns = 0, rows = 0;
};
TerminalSize StdoutSize();

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_TERMINAL_H_
