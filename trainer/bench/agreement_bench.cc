#include "trainer/bench/agreement_bench.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/comm/rendezvous/rendezvous.h"
#include "kernels/runtime/clock.h"
#include "kernels/runtime/status.h"
#include "trainer/parallel/step_agreement.h"

namespace wyvern {
namespace {

constexpr int kInARow = 10;  // exchanges of one time: their own order keeps the ranks together

template <typename T>
T LargestOfAll(World* world, T value, DType dtype) {
  world->host().AllReduce(&value, &value, 1, dtype, ReduceOp::kMax);
  return value;
}

// The median time of `work` on the slowest rank.
double SlowestSeconds(World* world, int repeats, const std::function<void()>& work) {
  work();  // opens ways and fills caches
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    world->host().Barrier();
    const double begin = MonotonicSeconds();
    work();
    times.push_back(LargestOfAll(world, MonotonicSeconds() - begin, DType::kFloat64));
  }
  const auto middle = times.begin() + static_cast<ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

// One number of each rank comes to all: every rank passes on what it received last.
void GatherAroundRing(World* world) {
  Transport* transport = world->transport();
  const int size = world->size();
  int64_t held = world->rank(), received = 0;
  for (int step = 0; step + 1 < size; ++step) {
    transport->Exchange({(world->rank() + 1) % size, &held, sizeof(held)},
                        {(world->rank() + size - 1) % size, &received, sizeof(received)},
                        "gather around the ring");
    held = received;
  }
}

absl::StatusOr<double> MeetOnceMore(World* world, const RankEnvironment& environment) {
  int64_t port = 0;
  if (world->rank() == 0) {
    ASSIGN_OR_RETURN(const Socket free, Socket::Listen(0));
    port = free.LocalPort();
  }
  world->host().Broadcast(&port, 1, DType::kInt64, 0);
  const double begin = MonotonicSeconds();
  const absl::StatusOr<std::vector<Socket>> sockets =
      Meet({.rank = world->rank(),
            .size = world->size(),
            .address = environment.master_address,
            .port = static_cast<int>(port),
            .several_hosts = environment.several_hosts,
            .token = environment.token,
            .run = "bench agreement",
            .folder = ""});
  const double seconds = MonotonicSeconds() - begin;
  RETURN_IF_ERROR(Agree(world->host(), sockets.status()));
  return LargestOfAll(world, seconds, DType::kFloat64);
}

int64_t OpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  return error ? 0 : std::distance(begin(files), end(files));
}

}  // namespace

absl::StatusOr<AgreementBench> BenchAgreement(World* world, int repeats) {
  ASSIGN_OR_RETURN(const RankEnvironment environment, ReadRankEnvironment(EnvironmentVariable));
  AgreementBench bench{.num_ranks = world->size(),
                       .tcp = environment.start == RankEnvironment::Start::kTcp};
  StepAgreement agreement(world, /*context=*/1);
  bench.agreement_s = SlowestSeconds(world, repeats,
                                     [&] {
                                       for (int i = 0; i < kInARow; ++i) {
                                         agreement.Start(StepNews());
                                         agreement.Finish();
                                       }
                                     }) /
                      kInARow;
  bench.sum_s = SlowestSeconds(world, repeats,
                               [&] {
                                 for (int64_t i = 0; i < kInARow; ++i) {
                                   int64_t number = i;
                                   world->host().AllReduce(&number, &number, 1, DType::kInt64);
                                 }
                               }) /
                kInARow;
  bench.ring_s = SlowestSeconds(world, repeats, [&] { GatherAroundRing(world); });
  bench.open_files = LargestOfAll(world, OpenFiles(), DType::kInt64);
  if (bench.tcp) {
    ASSIGN_OR_RETURN(bench.meeting_s, MeetOnceMore(world, environment));
  }
  return bench;
}

nlohmann::json AgreementBench::Json() const {
  nlohmann::json json = {
      {"ranks", num_ranks},         {"transport", tcp ? "tcp" : num_ranks > 1 ? "mpi" : "none"},
      {"agreement_s", agreement_s}, {"sum_s", sum_s},
      {"ring_s", ring_s},           {"open_files", open_files}};
  if (meeting_s.has_value()) json["meeting_s"] = *meeting_s;
  return json;
}

std::string AgreementBench::ToString() const {
  std::string text = absl::StrFormat(
      "%d ranks: the agreement of a step %.0f us; one sum %.0f us, one gather around a ring %.0f "
      "us; "
      "up to %d open files",
      num_ranks, 1e6 * agreement_s, 1e6 * sum_s, 1e6 * ring_s, open_files);
  if (meeting_s.has_value()) absl::StrAppendFormat(&text, "; the ranks meet in %.2f s", *meeting_s);
  return text;
}

}  // namespace wyvern
