#include "kernels/comm/world.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/comm/host/host_communicator.h"
#include "kernels/comm/rendezvous/handshake.h"
#include "kernels/comm/rendezvous/rendezvous.h"
#include "kernels/comm/rendezvous/socket.h"
#ifdef WYVERN_CUDA
#include "kernels/comm/nccl/nccl_communicator.h"
#endif
#include "kernels/runtime/check.h"
#include "kernels/runtime/gpu.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

absl::StatusOr<int> IntVariable(const EnvironmentLookup& variable, const std::string& name, int low,
                                int high) {
  const std::string text = variable(name);
  int value = 0;
  if (text.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("WORLD_SIZE is ", variable("WORLD_SIZE"), ", but ", name,
                     " is not set; a start without mpirun needs RANK, WORLD_SIZE, MASTER_ADDR and "
                     "MASTER_PORT in every process"));
  }
  if (!absl::SimpleAtoi(text, &value) || value < low || value > high) {
    return absl::InvalidArgumentError(absl::StrCat("the environment variable ", name,
                                                   ": expected a number from ", low, " to ", high,
                                                   ", got '", text, "'"));
  }
  return value;
}

// A short one could be found by trying.
constexpr size_t kMinTokenBytes = 16;

absl::Status ReadMeeting(const EnvironmentLookup& variable, RankEnvironment* e) {
  e->token = variable("WYVERN_RUN_TOKEN");
  if (!e->token.empty() && e->token.size() < kMinTokenBytes) {
    return absl::InvalidArgumentError(absl::StrCat("WYVERN_RUN_TOKEN: expected ", kMinTokenBytes,
                                                   " bytes or more, got ", e->token.size(),
                                                   "; `openssl rand -hex 32` makes a good one"));
  }
  const std::string timeout = variable("WYVERN_RENDEZVOUS_TIMEOUT");
  if (timeout.empty()) return absl::OkStatus();
  double seconds = 0;
  if (!absl::SimpleAtod(timeout, &seconds) || !(seconds > 0 && seconds <= 1e9)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "WYVERN_RENDEZVOUS_TIMEOUT: expected more than 0 seconds, got '", timeout, "'"));
  }
  e->rendezvous_timeout = seconds;
  return absl::OkStatus();
}

// Notices names that no resolver can ever know, before anyone waits for them.
absl::Status CheckMasterAddress(const EnvironmentLookup& variable, RankEnvironment* e) {
  if (!variable("LOCAL_WORLD_SIZE").empty()) {
    ASSIGN_OR_RETURN(const int local_size, IntVariable(variable, "LOCAL_WORLD_SIZE", 1, e->size));
    e->several_hosts = local_size < e->size;
  }
  const std::string& text = e->master_address;
  const auto address = SocketAddress::FromText(text, e->master_port);
  const bool numbers = text.find_first_not_of("0123456789.") == std::string::npos;
  const bool name = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
  if (!address.has_value() && (numbers || !name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("MASTER_ADDR: expected a host name or an IP address, got '", text,
                     "'; the port goes into MASTER_PORT"));
  }
  if (address.has_value() && address->IsOfMany()) {
    return absl::InvalidArgumentError(
        absl::StrCat("MASTER_ADDR: ", text, " stands for many hosts; expected that of rank 0's"));
  }
  if (address.has_value() && address->IsLinkLocal() && address->scope() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("MASTER_ADDR: ", text, " is of one network alone; expected its interface ",
                     "behind it, as in ", text, "%eth0"));
  }
  const bool loopback = address.has_value() ? address->IsLoopback() || address->IsUnspecified()
                                            : absl::EqualsIgnoreCase(text, "localhost");
  if (!loopback || !e->several_hosts) return absl::OkStatus();
  // A platform may set it on rank 0's host, whose ranks come that way. The first rank of another
  // host is none of these.
  if (e->rank == 0 || e->local_rank != 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "MASTER_ADDR is ", text, ", which every host takes for itself, but rank ", e->rank,
      " is the first one of its host (LOCAL_RANK) and ", e->size,
      " ranks are on several (LOCAL_WORLD_SIZE); set it to the address of rank 0's host"));
}

// One process of several that each took themselves for the only one would train the same run.
absl::Status CheckStartedAlone(const EnvironmentLookup& variable) {
  if (!variable("RANK").empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("RANK is ", variable("RANK"),
                     ", but WORLD_SIZE is not set; a start without mpirun needs both, and "
                     "MASTER_ADDR and MASTER_PORT; unset RANK to train in one process"));
  }
  int tasks = 0;
  if (!variable("SLURM_PROCID").empty() &&
      absl::SimpleAtoi(variable("SLURM_STEP_NUM_TASKS"), &tasks) && tasks > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("srun started ", tasks,
                     " tasks, but WORLD_SIZE is not set; start the ranks of a run with "
                     "scripts/launch --slurm, or one process with srun --ntasks=1"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string EnvironmentVariable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

absl::StatusOr<RankEnvironment> ReadRankEnvironment(const EnvironmentLookup& variable) {
  RankEnvironment e;
  constexpr int kMaxRanks = 1 << 20;
  // Open MPI; others through PMI or PMIx, whose number of ranks MPI_Init says.
  const std::string ompi = variable("OMPI_COMM_WORLD_SIZE"), pmi = variable("PMI_SIZE");
  const std::string mpi_size = ompi.empty() ? pmi : ompi;
  if (!mpi_size.empty() || !variable("PMIX_RANK").empty()) {
    if (mpi_size == "1") return e;
    e.start = RankEnvironment::Start::kMpi;
    RETURN_IF_ERROR(ReadMeeting(variable, &e));
    return e;
  }
  if (variable("WORLD_SIZE").empty()) {
    RETURN_IF_ERROR(CheckStartedAlone(variable));
    return e;
  }
  ASSIGN_OR_RETURN(e.size, IntVariable(variable, "WORLD_SIZE", 1, kMaxRanks));
  ASSIGN_OR_RETURN(e.rank, IntVariable(variable, "RANK", 0, e.size - 1));
  if (!variable("LOCAL_RANK").empty()) {
    ASSIGN_OR_RETURN(e.local_rank, IntVariable(variable, "LOCAL_RANK", 0, e.size - 1));
  }
  if (e.size == 1) return e;
  e.start = RankEnvironment::Start::kTcp;
  e.master_address = variable("MASTER_ADDR");
  if (e.master_address.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "WORLD_SIZE is ", e.size, ", but MASTER_ADDR is not set; it names the host of rank 0"));
  }
  ASSIGN_OR_RETURN(e.master_port, IntVariable(variable, "MASTER_PORT", 1, 65535));
  RETURN_IF_ERROR(CheckMasterAddress(variable, &e));
  RETURN_IF_ERROR(ReadMeeting(variable, &e));
  return e;
}

absl::StatusOr<std::unique_ptr<World>> World::Connect(const Joining& joining) {
  ASSIGN_OR_RETURN(const RankEnvironment e, ReadRankEnvironment(EnvironmentVariable));
  if (e.start == RankEnvironment::Start::kSingle) return Single();
  const double timeout = CommTimeout();
  SetCommTimeout(e.rendezvous_timeout.value_or(joining.timeout > 0 ? joining.timeout : timeout));
  std::unique_ptr<Transport> transport;
  if (e.start == RankEnvironment::Start::kMpi) {
    ASSIGN_OR_RETURN(transport, MakeMpiTransport());
  } else {
    SetCommIdentity(absl::StrCat("rank ", e.rank, " of ", e.size, " (", HostName(), ")"));
    ASSIGN_OR_RETURN(transport, MakeTcpTransport({.rank = e.rank,
                                                  .size = e.size,
                                                  .address = e.master_address,
                                                  .port = e.master_port,
                                                  .several_hosts = e.several_hosts,
                                                  .token = e.token,
                                                  .run = joining.run,
                                                  .folder = joining.folder}));
  }
  auto world = std::make_unique<World>(std::move(transport), e.local_rank);
  if (e.start == RankEnvironment::Start::kMpi) RETURN_IF_ERROR(ProveToken(world->host(), e.token));
  SetCommIdentity(
      absl::StrCat("rank ", world->rank(), " of ", world->size(), " (", HostName(), ")"));
  SetCommTimeout(timeout);
  return world;
}

std::unique_ptr<World> World::Single() { return std::make_unique<World>(nullptr); }

std::unique_ptr<World> World::Meta(int size, int local_size, CommVolumes* volumes) {
  std::unique_ptr<World> world = Single();
  if (size == 1) return world;
  world->volumes_ = volumes;
  world->host_ = MakeMetaCommunicator(0, size, "world", Device::kCpu, volumes);
  world->local_size_ = local_size;
  world->host_names_.assign(static_cast<size_t>(size), "meta");
  return world;
}

World::World(std::unique_ptr<Transport> transport, std::optional<int> local_rank)
    : transport_(std::move(transport)) {
  if (transport_ == nullptr) {
    host_ = MakeSingleCommunicator(Device::kCpu, "world");
    host_names_ = {HostName()};
    return;
  }
  std::vector<int> all;
  for (int r = 0; r < transport_->size(); ++r) all.push_back(r);
  host_ = MakeHostCommunicator(transport_.get(), all, "world");
  host_names_ = GatherTexts(*host_, HostName());
  local_size_ = 0;
  for (int r = 0; r < size(); ++r) {
    if (host_name(r) != host_name(rank())) continue;
    if (r == rank()) local_rank_ = local_size_;
    ++local_size_;
  }
  if (local_rank.has_value()) local_rank_ = *local_rank;
}

absl::StatusOr<std::unique_ptr<Communicator>> World::MakeGroup(Device device,
                                                               std::vector<int> ranks,
                                                               const std::string& name) {
  if (ranks.size() == 1) {
    CHECK(ranks[0] == rank(), "rank ", rank(), " is not of the group '", name, "'");
    return MakeSingleCommunicator(device, name);
  }
  if (volumes_ != nullptr) {
    const int size = static_cast<int>(ranks.size());
    return MakeMetaCommunicator(0, size, name, device, volumes_);
  }
  std::unique_ptr<Communicator> host = MakeHostCommunicator(transport_.get(), ranks, name);
  if (device == Device::kCpu) return host;
#ifdef WYVERN_CUDA
  return MakeNcclCommunicator(std::move(host));
#else
  return absl::FailedPreconditionError("a build without CUDA has no groups of GPUs");
#endif
}

absl::Status World::SelectGpu() {
  if (size() == 1) return absl::OkStatus();
  const int count = GpuCount();
  const int wanted = count == 1 ? 0 : local_rank_;
  absl::Status status;
  if (wanted >= count) {
    status = absl::FailedPreconditionError(
        absl::StrCat("it is rank ", local_rank_, " of host ", host_name(rank()),
                     ", counted from 0, but there are ", count, " GPUs; start at most ", count,
                     " ranks a host"));
  } else {
    UseGpu(wanted);
  }
  const std::string gpu =
      status.ok() ? absl::StrCat(host_name(rank()), " ", GpuBusId(wanted)) : std::string();
  const std::vector<std::string> gpus = GatherTexts(*host_, gpu);
  for (int r = 0; r < rank() && status.ok(); ++r) {
    if (gpus[static_cast<size_t>(r)] != gpu) continue;
    status = absl::FailedPreconditionError(
        absl::StrCat("it has the same GPU as rank ", r, " (", gpu, "); start one rank a GPU"));
  }
  return Agree(*host_, status);
}

std::vector<std::string> GatherTexts(Communicator& group, const std::string& text) {
  const auto n = static_cast<size_t>(group.size());
  const auto length = static_cast<int64_t>(text.size());
  std::vector<int64_t> lengths(n);
  group.AllGather(&length, lengths.data(), 1, DType::kInt64);
  std::string all(static_cast<size_t>(SumOfCounts(lengths, n)), '\0');
  group.AllGather(text.data(), all.data(), lengths, DType::kUint8);
  std::vector<std::string> texts;
  for (size_t r = 0; r < n; ++r) {
    texts.push_back(
        all.substr(static_cast<size_t>(SumOfCounts(lengths, r)), static_cast<size_t>(lengths[r])));
  }
  return texts;
}

absl::Status ProveToken(Communicator& group, const std::string& token) {
  const std::vector<std::string> has = GatherTexts(group, token.empty() ? "" : "1");
  const std::string challenge = absl::StrJoin(GatherTexts(group, RandomBytes(32)), "");
  const auto proof = [&](int rank) {
    return token.empty() ? "" : HmacSha256(token, absl::StrCat("rank ", rank, " ", challenge));
  };
  const std::vector<std::string> proofs = GatherTexts(group, proof(group.rank()));
  for (int r = 0; r < group.size(); ++r) {
    const bool without = has[static_cast<size_t>(r)].empty();
    if (without == token.empty()) continue;
    return absl::PermissionDeniedError(absl::StrCat(
        "rank ", without ? r : group.rank(), " has no WYVERN_RUN_TOKEN, and rank ",
        without ? group.rank() : r, " has one; mpirun -x WYVERN_RUN_TOKEN gives it to all"));
  }
  for (int r = 0; r < group.size(); ++r) {
    if (SameBytes(proofs[static_cast<size_t>(r)], proof(r))) continue;
    return absl::PermissionDeniedError(
        absl::StrCat("rank ", r, " has another WYVERN_RUN_TOKEN than rank ", group.rank()));
  }
  return absl::OkStatus();
}

absl::Status Agree(Communicator& group, const absl::Status& status) {
  if (group.size() == 1) return status;
  const int32_t code = static_cast<int32_t>(status.code());
  std::vector<int32_t> codes(static_cast<size_t>(group.size()));
  group.AllGather(&code, codes.data(), 1, DType::kInt32);
  for (int r = 0; r < group.size(); ++r) {
    if (codes[static_cast<size_t>(r)] == 0) continue;
    // Rare: only now do the messages travel.
    const std::vector<std::string> texts = GatherTexts(group, std::string(status.message()));
    return absl::Status(static_cast<absl::StatusCode>(codes[static_cast<size_t>(r)]),
                        absl::StrCat("rank ", r, ": ", texts[static_cast<size_t>(r)]));
  }
  return absl::OkStatus();
}

}  // namespace wyvern
