#include "kernels/comm/host/transport.h"

#ifdef WYVERN_MPI
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <iterator>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/comm/failure/wait_clock.h"
#include "kernels/runtime/check.h"
#endif

namespace wyvern {

#ifdef WYVERN_MPI
namespace {

constexpr int kTag = 1;
constexpr size_t kMaxBytes = size_t{1} << 30;  // MPI counts are int
constexpr int kSpins = 2000;                   // before the waiting rank lets others run

std::string MpiError(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, static_cast<size_t>(length));
}

#define MPI_CHECK(expression)                                                               \
  do {                                                                                      \
    const int wyvern_error = (expression);                                                  \
    if (wyvern_error != MPI_SUCCESS) CommFailed(#expression ": " + MpiError(wyvern_error)); \
  } while (false)

// mpirun kills the ranks soon after it has told them that one is lost: Open MPI 4 after a second, 5
// after a quarter of one. `due`: of one wait.
void LookForTermination(const std::string& what, int peer, Deadline* due) {
  static bool said = false;
  if (said || !TerminationNoted()) return;
  const Deadline now = std::chrono::steady_clock::now();
  // A peer that only stops, too, answers until then.
  if (*due == Deadline::max()) *due = now + std::chrono::milliseconds(50);
  if (now < *due) return;
  said = true;
  CommWarning(absl::StrCat(what, ": still waiting for rank ", peer,
                           " after SIGTERM came; that rank, or another, has probably ended"));
}

// Ends the process if MPI_Init takes longer than the time-out. (The watchdog's threads take a GPU,
// and it is not known yet which one is this rank's.)
class StartTimer {
 public:
  StartTimer() : thread_([this] { Wait(); }) {}
  ~StartTimer() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const std::chrono::duration<double> timeout(CommTimeout());
    if (changed_.wait_for(lock, timeout, [this] { return done_; })) return;
    CommFailed(
        absl::StrCat("MPI_Init: not all ranks of mpirun were there within ", CommTimeout(), " s"));
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

void AbortAll() { MPI_Abort(MPI_COMM_WORLD, 1); }

class MpiTransport : public Transport {
 public:
  MpiTransport() {
    MPI_CHECK(MPI_Comm_dup(MPI_COMM_WORLD, &comm_));
    MPI_CHECK(MPI_Comm_dup(MPI_COMM_WORLD, &posts_));
    MPI_CHECK(MPI_Comm_rank(comm_, &rank_));
    MPI_CHECK(MPI_Comm_size(comm_, &size_));
  }
  ~MpiTransport() override {
    for (Posted& post : posted_) MPI_Wait(&post.request, MPI_STATUS_IGNORE);
    MPI_Comm_free(&posts_);
    MPI_Comm_free(&comm_);
    SetCommAbort(nullptr);
    MPI_Finalize();
  }

  void Exchange(const Message& send, const Message& receive, const std::string& what) override {
    std::vector<MPI_Request> requests;
    std::vector<int> peers;
    const auto start = [&](const Message& message, bool sending) {
      for (size_t done = 0; done < message.num_bytes; done += kMaxBytes) {
        const int bytes = static_cast<int>(std::min(kMaxBytes, message.num_bytes - done));
        char* data = static_cast<char*>(message.data) + done;
        requests.emplace_back();
        peers.push_back(message.peer);
        MPI_CHECK(
            sending
                ? MPI_Isend(data, bytes, MPI_BYTE, message.peer, kTag, comm_, &requests.back())
                : MPI_Irecv(data, bytes, MPI_BYTE, message.peer, kTag, comm_, &requests.back()));
      }
    };
    start(receive, /*sending=*/false);
    start(send, /*sending=*/true);
    Wait wait(what);
    for (size_t i = 0; i < requests.size(); ++i) {
      wait.Until(peers[i],
                 [&](int* done) { return MPI_Test(&requests[i], done, MPI_STATUS_IGNORE); });
    }
  }

  void Post(const Message& message, const std::string& what) override {
    const char* data = static_cast<const char*>(message.data);
    posted_.push_back({std::vector<char>(data, data + message.num_bytes), MPI_REQUEST_NULL});
    Posted& post = posted_.back();
    const int error = MPI_Isend(post.bytes.data(), static_cast<int>(post.bytes.size()), MPI_BYTE,
                                message.peer, kTag, posts_, &post.request);
    if (error != MPI_SUCCESS) PeerFailed(what, message.peer, MpiError(error));
    for (auto one = posted_.begin(); one != posted_.end();) {
      int done = 0;
      MPI_CHECK(MPI_Test(&one->request, &done, MPI_STATUS_IGNORE));
      one = done != 0 ? posted_.erase(one) : std::next(one);
    }
  }

  bool Take(const Message& message, bool wait, const std::string& what) override {
    const auto look = [&](int* come) {
      return MPI_Iprobe(message.peer, kTag, posts_, come, MPI_STATUS_IGNORE);
    };
    int come = 0;
    const int error = look(&come);
    if (error != MPI_SUCCESS) PeerFailed(what, message.peer, MpiError(error));
    if (come == 0 && !wait) return false;
    if (come == 0) Wait(what).Until(message.peer, look);
    MPI_CHECK(MPI_Recv(message.data, static_cast<int>(message.num_bytes), MPI_BYTE, message.peer,
                       kTag, posts_, MPI_STATUS_IGNORE));
    return true;
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

 private:
  struct Posted {
    std::vector<char> bytes;
    MPI_Request request;
  };

  // One wait for peers.
  class Wait {
   public:
    explicit Wait(const std::string& what) : what_(what) {}
    // `test` says whether it is done, and returns MPI's error.
    template <typename Test>
    void Until(int peer, const Test& test) {
      for (int64_t tries = 0;; ++tries) {
        int done = 0;
        const int error = test(&done);
        if (error != MPI_SUCCESS) PeerFailed(what_, peer, MpiError(error));
        if (done != 0) return;
        if (tries < kSpins) continue;
        clock_.Look(what_, peer);
        LookForTermination(what_, peer, &termination_due_);
        usleep(20);
      }
    }

   private:
    const std::string& what_;
    WaitClock clock_;
    Deadline termination_due_ = Deadline::max();
  };

  MPI_Comm comm_, posts_;
  std::list<Posted> posted_;  // on their way
  int rank_ = 0, size_ = 1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeMpiTransport() {
  int provided = 0;
  {
    const StartTimer timer;
    if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
      return absl::UnavailableError("MPI_Init_thread failed");
    }
  }
  if (provided < MPI_THREAD_FUNNELED) {
    return absl::UnavailableError("this MPI supports no threads beside the main one");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  SetCommAbort(AbortAll);
  return std::unique_ptr<Transport>(new MpiTransport);
}

std::string MpiVersion() {
  int started = 0;
  if (MPI_Initialized(&started) != MPI_SUCCESS || started == 0) return "";
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text, static_cast<size_t>(length));
  return version.substr(0, version.find_first_of(",\n"));  // what follows are builds
}

#else

std::string MpiVersion() { return ""; }

absl::StatusOr<std::unique_ptr<Transport>> MakeMpiTransport() {
  return absl::FailedPreconditionError(
      "this process was started by mpirun, but this build has no MPI; install libopenmpi-dev and "
      "configure again, or start each rank with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set");
}

#endif

}  // namespace wyvern
