#include "trainer/optimizer/muon.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "autograd/profiler_range.h"
#include "kernels/optim/dispatch_muon.h"
#include "kernels/optim/muon.h"
#include "trainer/optimizer/newton_schulz.h"
#include "trainer/optimizer/optimizer.h"

namespace wyvern {
namespace {

// The RMS of an update's elements beside that of a matrix with orthonormal rows, 1/sqrt(max(rows,
// columns)): about AdamW's, so that both share one rate (arXiv 2502.16982).
constexpr double kUpdateRms = 0.2;

DType ProductType(const Tensor& master) {
  return master.device() != Device::kCpu ? DType::kBf16 : master.dtype();
}

}  // namespace

Muon::Muon(std::vector<Target> targets, int64_t round_elements) : targets_(std::move(targets)) {
  // By group, in the order in which the model has them: the same on all ranks.
  std::vector<std::pair<Communicator*, std::vector<const Target*>>> groups;
  for (const Target& target : targets_) {
    Communicator* group = target.parameter->flat->sharding().group;
    auto found = std::find_if(groups.begin(), groups.end(),
                              [&](const auto& entry) { return entry.first == group; });
    if (found == groups.end()) found = groups.insert(groups.end(), {group, {}});
    found->second.push_back(&target);
  }
  for (const auto& [group, members] : groups) AddRounds(members, round_elements);
}

void Muon::AddRounds(const std::vector<const Target*>& targets, int64_t round_elements) {
  std::vector<const Parameter*> parameters;
  for (const Target* target : targets) parameters.push_back(target->parameter);
  const auto num_ranks = static_cast<int>(parameters.front()->flat->sharding().count);
  for (const MuonRound& matrices : PlanMuon(parameters, num_ranks, round_elements)) {
    Round round = MakeRound(targets, matrices);
    (round.shards == nullptr ? local_ : exchanged_).push_back(std::move(round));
  }
}

Muon::Round Muon::MakeRound(const std::vector<const Target*>& targets,
                            const MuonRound& matrices) const {
  std::map<const Parameter*, const Target*> target_of;
  for (const Target* target : targets) target_of[target->parameter] = target;
  const Sharding& sharding = matrices.front().parameter->flat->sharding();
  const auto rank = static_cast<int>(sharding.index);
  const auto num_ranks = static_cast<int>(sharding.count);
  const bool travels = std::any_of(matrices.begin(), matrices.end(), [](const MuonMatrix& m) {
    return m.RangeOn(m.owner).size() < m.num_elements();
  });
  CHECK(!travels || sharding.group != nullptr, "matrices of a flat that nobody shares");
  Round round{.shards = travels ? sharding.group : nullptr};
  round.send_counts.resize(static_cast<size_t>(num_ranks));
  round.receive_counts.resize(static_cast<size_t>(num_ranks));
  for (const MuonMatrix& m : matrices) {
    const MuonMatrix::Range own = m.RangeOn(rank);
    const Target* target = target_of.at(m.parameter);
    round.slices.push_back(
        {.target = target,
         .offset = m.index * m.num_elements() + own.begin -
                   m.parameter->flat->SliceOf(*m.parameter).begin,
         .size = own.size(),
         .scale = kUpdateRms * std::sqrt(static_cast<double>(std::max(m.rows, m.columns)))});
    round.send_counts[static_cast<size_t>(m.owner)] += own.size();
    round.num_sent += own.size();
    if (m.owner != rank) continue;
    const bool more = !round.batches.empty() && round.batches.back().rows == m.rows &&
                      round.batches.back().columns == m.columns;
    if (!more) {
      round.batches.push_back({.offset = round.num_owned, .rows = m.rows, .columns = m.columns});
    }
    ++round.batches.back().count;
    round.num_owned += m.num_elements();
  }
  int64_t arrival = 0;
  for (int from = 0; from < num_ranks && travels; ++from) {
    int64_t begin = 0;  // of the matrix
    for (const MuonMatrix& m : matrices) {
      if (m.owner != rank) continue;
      const MuonMatrix::Range range = m.RangeOn(from);
      if (range.size() > 0) {
        round.copies.push_back(
            {.arrival = arrival, .matrix = begin + range.begin, .size = range.size()});
      }
      arrival += range.size();
      round.receive_counts[static_cast<size_t>(from)] += range.size();
      begin += m.num_elements();
    }
  }
  return round;
}

Muon::Buffers Muon::Send(const Round& round, const Update& update) const {
  const Tensor& like = targets_.front().m;
  const Device device = like.device();
  const DType type = ProductType(like);
  Buffers buffers{.slices = Tensor::Empty({round.num_sent}, type, device)};
  {
    ProfilerRange range("muon_momentum", WorkClass::kMuon, Pass::kUpdate);
    double bytes = 0;
    DispatchMuon(device, type, [&](auto tag, auto t) {
      using T = typename decltype(t)::type;
      using Acc = AccOf<T>;
      MuonMomentumParams<T> params{.momentum = update.momentum,
                                   .grad_scale = update.clip.data<Acc>(),
                                   .finite = update.finite.data<int32_t>(),
                                   .stream = ComputeStream()};
      int64_t sent = 0;
      for (const Slice& slice : round.slices) {
        if (slice.size == 0) continue;
        const Parameter& parameter = *slice.target->parameter;
        const Tensor m =
            FlatParameters::PartOf(slice.target->m, parameter.flat->SliceOf(parameter));
        const Tensor grad = ReducedGradient(parameter);
        params.tensors.push_back({.num_elements = slice.size,
                                  .grad = grad.data<Acc>() + slice.offset,
                                  .m = m.data<Acc>() + slice.offset,
                                  .u = buffers.slices.data<T>() + sent});
        sent += slice.size;
        bytes += static_cast<double>(slice.size) * (3 * sizeof(Acc) + sizeof(T));
      }
      MuonMomentum(tag, params);
    });
    range.SetWork({.bytes = bytes});
  }
  if (round.shards == nullptr) {
    buffers.matrices = buffers.slices;
    return buffers;
  }
  buffers.arrivals = Tensor::Empty({round.num_owned}, type, device);
  buffers.exchange = round.shards->AllToAll(buffers.slices.raw(), round.send_counts,
                                            buffers.arrivals.raw(), round.receive_counts, type);
  return buffers;
}

void Muon::Orthogonalize(const Round& round, Buffers* buffers) const {
  const auto copy = [&](const Tensor& from, int64_t Copy::*from_offset, const Tensor& to,
                        int64_t Copy::*to_offset) {
    ProfilerRange range("muon_exchange", WorkClass::kMuon, Pass::kUpdate);
    range.SetWork({.bytes = 2 * static_cast<double>(from.nbytes())});
    for (const Copy& c : round.copies) {
      to.Rows(c.*to_offset, c.*to_offset + c.size)
          .CopyFrom(from.Rows(c.*from_offset, c.*from_offset + c.size));
    }
  };
  if (round.shards != nullptr) {
    buffers->exchange.Wait();
    buffers->matrices = Tensor::EmptyLike(buffers->arrivals);
    copy(buffers->arrivals, &Copy::arrival, buffers->matrices, &Copy::matrix);
  }
  {
    ProfilerRange range("newton_schulz", WorkClass::kNewtonSchulz, Pass::kUpdate);
    double flops = 0;
    for (const Batch& batch : round.batches) {
      const int64_t size = batch.count * batch.rows * batch.columns;
      NewtonSchulz(buffers->matrices.Rows(batch.offset, batch.offset + size)
                       .Reshape({batch.count, batch.rows, batch.columns}));
      flops += static_cast<double>(batch.count) * NewtonSchulzFlops(batch.rows, batch.columns);
    }
    range.SetWork({.flops = flops});
  }
  if (round.shards != nullptr) {
    copy(buffers->matrices, &Copy::matrix, buffers->arrivals, &Copy::arrival);
    buffers->matrices = Tensor();
    buffers->exchange =
        round.shards->AllToAll(buffers->arrivals.raw(), round.receive_counts, buffers->slices.raw(),
                               round.send_counts, buffers->arrivals.dtype());
  }
}

void Muon::Apply(const Round& round, const Update& update, Buffers* buffers) const {
  buffers->exchange.Wait();
  ProfilerRange range("muon_apply", WorkClass::kMuon, Pass::kUpdate);
  double bytes = 0;
  DispatchMuon(buffers->slices.device(), buffers->slices.dtype(), [&](auto tag, auto t) {
    using T = typename decltype(t)::type;
    using Acc = AccOf<T>;
    MuonApplyParams<T> params{
        .lr = update.lr, .finite = update.finite.data<int32_t>(), .stream = ComputeStream()};
    int64_t received = 0;
    for (const Slice& slice : round.slices) {
      if (slice.size == 0) continue;
      const Parameter& parameter = *slice.target->parameter;
      const FlatParameters::Updated updated = parameter.flat->UpdatedOf(parameter);
      const bool has_copy = updated.copy.defined();
      params.tensors.push_back({.num_elements = slice.size,
                                .master = updated.master.data<Acc>() + slice.offset,
                                .o = buffers->slices.data<T>() + received,
                                .copy = has_copy ? updated.copy.data<T>() + slice.offset : nullptr,
                                .scale = slice.scale,
                                .weight_decay = slice.target->weight_decay});
      received += slice.size;
      bytes += static_cast<double>(slice.size) * (2 * sizeof(Acc) + (has_copy ? 2 : 1) * sizeof(T));
    }
    MuonApply(tag, params);
  });
  range.SetWork({.bytes = bytes});
  *buffers = Buffers();
}

void Muon::Step(const Update& update) const {
  for (const Round& round : local_) {
    Buffers buffers = Send(round, update);
    Orthogonalize(round, &buffers);
    Apply(round, update, &buffers);
  }
  // While round i is exchanged, i - 1 is orthogonalised, and i - 2 comes back.
  std::vector<Buffers> buffers(exchanged_.size());
  for (size_t i = 0; i < exchanged_.size() + 2 && !exchanged_.empty(); ++i) {
    if (i < exchanged_.size()) buffers[i] = Send(exchanged_[i], update);
    if (i >= 1 && i - 1 < exchanged_.size()) Orthogonalize(exchanged_[i - 1], &buffers[i - 1]);
    if (i >= 2) Apply(exchanged_[i - 2], update, &buffers[i - 2]);
  }
}

}  // namespace wyvern
