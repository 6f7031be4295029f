// How a process learns which rank of a run it is, and the groups it makes with others.
#ifndef WYVERN_KERNELS_COMM_WORLD_H_
#define WYVERN_KERNELS_COMM_WORLD_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/comm/communicator.h"
#include "kernels/comm/host/background_reduction.h"
#include "kernels/comm/host/transport.h"
#include "kernels/comm/meta_communicator.h"

namespace wyvern {

// This process's place, read from the environment.
struct RankEnvironment {
  enum class Start {
    kSingle,  // one process
    kMpi,     // by mpirun or srun; MPI knows the ranks
    kTcp,     // by RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT
  };
  Start start = Start::kSingle;
  int rank = 0, size = 1;         // kTcp
  std::optional<int> local_rank;  // LOCAL_RANK: among the ranks of this host
  std::string master_address;     // kTcp: where rank 0 is
  int master_port = 0;
  bool several_hosts = false;  // kTcp: LOCAL_WORLD_SIZE says so
  // WYVERN_RUN_TOKEN: what ranks prove to each other that they know (rendezvous.h).
  std::string token;
  // WYVERN_RENDEZVOUS_TIMEOUT: seconds to wait for all ranks to come, which goes before Joining's.
  std::optional<double> rendezvous_timeout;
};

// How a process joins a run: which one it belongs to, as ranks of another are not let in
// (rendezvous.h), and how many seconds it waits for all ranks to come; 0: CommTimeout().
struct Joining {
  std::string run, folder;
  double timeout = 0;
};

// `variable` gives the value of an environment variable, empty if there is none. mpirun's own
// variables go before the others. Errors: variables that are missing, are no numbers, contradict
// each other, or can never work.
using EnvironmentLookup = std::function<std::string(const std::string& name)>;
std::string EnvironmentVariable(const std::string& name);  // of this process
absl::StatusOr<RankEnvironment> ReadRankEnvironment(const EnvironmentLookup& variable);

// All processes of a run.
class World {
 public:
  // From the environment; returns when all ranks are there. On several ranks this also sets
  // whose messages are whose (comm_failure.h). At most once in a process. Errors: those of
  // ReadRankEnvironment, no MPI in this build, ranks that do not come within the time-out, that
  // belong to another run or have another token.
  static absl::StatusOr<std::unique_ptr<World>> Connect(const Joining& joining = {});
  // This process alone, whatever the environment says.
  static std::unique_ptr<World> Single();
  // Rank 0 of `size`, `local_size` to a host, whose other ranks are not there: for programs on the
  // meta device. What its groups would move is added to `volumes`, which outlives it.
  static std::unique_ptr<World> Meta(int size, int local_size, CommVolumes* volumes);
  // Ranks that are connected already, for tests and other ways to start.
  explicit World(std::unique_ptr<Transport> transport,
                 std::optional<int> local_rank = std::nullopt);

  int rank() const { return host_->rank(); }
  int size() const { return host_->size(); }
  int local_rank() const { return local_rank_; }  // among the ranks of this host
  int local_size() const { return local_size_; }
  const std::string& host_name(int rank) const { return host_names_[static_cast<size_t>(rank)]; }

  // All ranks, in host memory: for counters, agreements and small tables.
  Communicator& host() { return *host_; }
  // Messages between two ranks; null: one rank.
  Transport* transport() const { return transport_.get(); }
  // One over all ranks, for what they agree on while they compute. At most one a run.
  std::unique_ptr<BackgroundReduction> MakeBackgroundReduction(std::vector<ReduceOp> ops) const {
    return std::make_unique<BackgroundReduction>(transport_.get(), std::move(ops));
  }

  // A group whose buffers lie on `device`. All ranks of the run call this in the same order, each
  // with the group that it is a member of; ranks ascend. On CUDA, SelectGpu comes first.
  // Errors: NCCL cannot be loaded or does not start.
  absl::StatusOr<std::unique_ptr<Communicator>> MakeGroup(Device device, std::vector<int> ranks,
                                                          const std::string& name);

  // Makes the GPU of this process the one numbered local_rank(), or the only one there is. Before
  // any other use of CUDA; on several ranks a GPU that two of them would share is an error.
  absl::Status SelectGpu();

 private:
  std::unique_ptr<Transport> transport_;  // null: a single process
  CommVolumes* volumes_ = nullptr;        // of a world of one rank without the others
  std::unique_ptr<Communicator> host_;
  int local_rank_ = 0, local_size_ = 1;
  std::vector<std::string> host_names_;
};

// Gathers one text of each rank, in the order of the ranks. `group` works on host memory.
std::vector<std::string> GatherTexts(Communicator& group, const std::string& text);

// Whether all ranks have the same token (WYVERN_RUN_TOKEN), which none of them tells: for ranks
// that something else than the rendezvous has brought together. Error, on all ranks: one that has
// another token or none.
absl::Status ProveToken(Communicator& group, const std::string& token);

// One status for all: the same on every rank, OK if it is so everywhere, otherwise the first
// failing rank's, whose number goes before its message where there are several ranks.
absl::Status Agree(Communicator& group, const absl::Status& status);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_WORLD_H_
