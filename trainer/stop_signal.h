#ifndef WYVERN_TRAINER_STOP_SIGNAL_H_
#define WYVERN_TRAINER_STOP_SIGNAL_H_

namespace wyvern {

// While it lives, SIGTERM, SIGINT and SIGUSR1 ask the training loop to finish its step, save and
// stop. A second signal ends the process at once. (mpirun passes SIGUSR1 on and leaves the ranks
// their time; SIGTERM makes it kill them.)
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // SIGINT or SIGTERM, which also stands for SIGUSR1; 0: none came.
  static int Received();
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_STOP_SIGNAL_H_
