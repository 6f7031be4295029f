#include "kernels/comm/world.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/comm/comm_failure.h"
#include "kernels/comm/host_communicator.h"
#ifdef WYVERN_CUDA
#include "kernels/comm/nccl_communicator.h"
#endif
#include "kernels/runtime/check.h"
#include "kernels/runtime/gpu.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

std::string Lookup(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

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

}  // namespace

absl::StatusOr<RankEnvironment> ReadRankEnvironment(const EnvironmentLookup& variable) {
  RankEnvironment e;
  constexpr int kMaxRanks = 1 << 20;
  // Open MPI; others through PMI or PMIx, whose number of ranks MPI_Init says.
  const std::string ompi = variable("OMPI_COMM_WORLD_SIZE"), pmi = variable("PMI_SIZE");
  const std::string mpi_size = ompi.empty() ? pmi : ompi;
  if (!mpi_size.empty() || !variable("PMIX_RANK").empty()) {
    if (mpi_size != "1") e.start = RankEnvironment::Start::kMpi;
    return e;
  }
  if (variable("WORLD_SIZE").empty()) return e;
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
  return e;
}

absl::StatusOr<std::unique_ptr<World>> World::Connect() {
  ASSIGN_OR_RETURN(const RankEnvironment e, ReadRankEnvironment(Lookup));
  if (e.start == RankEnvironment::Start::kSingle) return Single();
  std::unique_ptr<Transport> transport;
  if (e.start == RankEnvironment::Start::kMpi) {
    ASSIGN_OR_RETURN(transport, MakeMpiTransport());
  } else {
    SetCommIdentity(absl::StrCat("rank ", e.rank, " of ", e.size, " (", HostName(), ")"));
    ASSIGN_OR_RETURN(transport, MakeTcpTransport(e.rank, e.size, e.master_address, e.master_port));
  }
  auto world = std::make_unique<World>(std::move(transport), e.local_rank);
  SetCommIdentity(
      absl::StrCat("rank ", world->rank(), " of ", world->size(), " (", HostName(), ")"));
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
