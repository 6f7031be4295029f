#ifndef WYVERN_TRAINER_STOP_SIGNAL_H_
#define WYVERN_TRAINER_STOP_SIGNAL_H_

namespace wyvern {

// While it lives, SIGTERM and SIGINT ask the training loop to finish its step, save and stop. A
// second signal ends the process at once.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The signal that came, or 0.
  static int Received();
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_STOP_SIGNAL_H_
