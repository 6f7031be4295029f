#ifndef WYVERN_TRAINER_RUN_STOP_SIGNAL_H_
#define WYVERN_TRAINER_RUN_STOP_SIGNAL_H_

#include <array>
#include <csignal>
#include <string>

namespace wyvern {

// While it lives, SIGTERM, SIGINT, SIGHUP and SIGUSR1 ask the training loop to finish its step,
// save and stop. A second signal ends the process at once. A SIGHUP that was ignored when the
// program started (nohup) stays ignored. (mpirun passes SIGUSR1 on and leaves the ranks their time;
// SIGTERM makes it kill them.)
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The signal that came; 0: none.
  static int Received();

 private:
  std::array<struct sigaction, 4> before_;
};

// While it lives, and no StopSignal does, the same signals end the process at once, with one line
// on stderr: before the first step and after the last one there is nothing to save. What the
// process was writing has not appeared under its name, and the next start removes it. The exit code
// is 128 + signal; of SIGUSR1 alone 0, and on several ranks SIGTERM's, by which mpirun and srun end
// the others too. Of ranks that mpirun started, the first one alone prints the line.
class StopAtOnce {
 public:
  // `advice` ends the line, and lives as long as the program.
  explicit StopAtOnce(const char* advice = "the same command goes on from what is saved");
  ~StopAtOnce();
  StopAtOnce(const StopAtOnce&) = delete;
  StopAtOnce& operator=(const StopAtOnce&) = delete;

 private:
  std::array<struct sigaction, 4> before_;
};

// Ignores SIGHUP again if the program was started with it ignored, as nohup does. A program calls
// it first in main: a library's constructor may have taken the signal back (UCX, which Open MPI 5
// loads, installs a handler of its own).
void KeepHangUpIgnored();

// "SIGTERM".
std::string SignalName(int signal);

// The exit code of work of `num_ranks` processes that `signal` has stopped and that is saved: 128 +
// signal, as a shell shows a process that died of it. 0 without a signal; after SIGUSR1, by which
// schedulers ask to save and end; and on several ranks, where mpirun and srun would take another
// code for a rank's failure and kill the ranks that are still ending.
int StoppedExitCode(int signal, int num_ranks = 1);
// Whether a process that ended so was asked to: it has not failed, and is not to be started again.
bool IsStoppedExitCode(int code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_STOP_SIGNAL_H_
