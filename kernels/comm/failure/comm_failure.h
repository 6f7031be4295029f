// How a rank ends when it has lost its peers, and what it reports.
#ifndef WYVERN_KERNELS_COMM_FAILURE_COMM_FAILURE_H_
#define WYVERN_KERNELS_COMM_FAILURE_COMM_FAILURE_H_

#include <string>

namespace wyvern {

// How long an operation waits for its peers before the process ends. Default: 600 seconds.
void SetCommTimeout(double seconds);
double CommTimeout();

// Names what the process is doing, for messages: "step 17", and a part of it, "update". The part
// is forgotten when the activity changes. May be set by one thread at a time.
void SetCommActivity(std::string activity);
void SetCommPhase(std::string phase);
// "step 17, update".
std::string CommActivity();

// Who this process is, for messages: "rank 1 of 4 (node7)".
void SetCommIdentity(std::string identity);

// Called before the process ends, to take the other ranks along (MPI_Abort); it may not return.
void SetCommAbort(void (*abort)());

// Hears what happens to operations, from the threads that find it.
class CommObserver {
 public:
  virtual ~CommObserver() = default;
  // Waits: an operation has waited for a quarter of the time-out. GoesOn: it is done after all.
  virtual void Waits(const std::string& what) = 0;
  virtual void GoesOn(double seconds) = 0;
  virtual void Warns(const std::string& message) = 0;
  // The process ends with this message, which is on stderr already. The result, if not empty, is
  // printed too: what is known of the others. It has ten seconds.
  virtual std::string Fails(const std::string& message) = 0;
};
// Pass null to remove it. On return the previous observer is no longer in use.
void SetCommObserver(CommObserver* observer);
// Report to the observer.
void ObserveWait(const std::string& what);
void ObserveEndOfWait(double seconds);

// Prints "wyvern: <identity>: <activity>: <what>" on stderr and ends the process with exit code 1,
// without running destructors, which could wait for peers. Any thread may call it; of several, the
// first is heard. `activity`: what the process did when the failed operation began.
[[noreturn]] void CommFailed(const std::string& what, const std::string& activity = CommActivity());

// Prints "wyvern: <identity>: <activity>: <what>" on stderr, tells the observer, and returns.
void CommWarning(const std::string& what);

// A request to stop came by SIGTERM. Safe in a signal handler. mpirun sends it when a rank is lost,
// a quarter of a second or more before it kills: a rank that is waiting then says for whom.
void NoteTermination();
bool TerminationNoted();

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_FAILURE_COMM_FAILURE_H_
