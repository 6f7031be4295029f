// Geometry of the serial passes.
#include "kernels/delta_rule/sm90/delta_scan.cuh"

namespace wyvern::sm90 {
namespace {

constexpr int kSharedBytes = 227 * 1024;       // of one block
constexpr int kSharedBytesPerSm = 228 * 1024;  // of which each resident block takes 1 KB more
constexpr int kMaxStages = 4;

int NumSms() {
  static const int count = CurrentGpu().num_sms;
  return count;
}

}  // namespace

int ScanGroups(const Args& args) {
  if (args.value_dim == kTile) return 1;
  return ScanBlocks(args, 2) * 4 >= static_cast<unsigned>(NumSms()) * 3 ? 2 : 1;
}

ScanLayout MakeScanLayout(const Args& args, ScanKind kind, int groups) {
  ScanLayout layout;
  const int key_blocks = args.key_blocks();
  const auto take = [&](int count) {
    const int index = layout.tiles;
    layout.tiles += count;
    return index;
  };
  layout.key = take(key_blocks);
  layout.bar = args.decay == DeltaDecay::kPerChannel ? take(key_blocks) : layout.key;
  if (kind != ScanKind::kStates) layout.query = take(key_blocks);
  layout.value = take(groups);
  layout.inverse = take(1);
  if (kind != ScanKind::kStates) layout.scores = take(1);
  const int staging = groups * (kind == ScanKind::kOutputs ? 1 : key_blocks);
  const auto bytes = [&](int stages) {
    return (stages * layout.tiles + staging) * kTileBytes +
           stages * (kSmallFloats * static_cast<int>(sizeof(float)) +
                     2 * static_cast<int>(sizeof(Barrier)));
  };
  const bool shares_sm = groups == 1 &&
                         ScanBlocks(args, groups) > static_cast<unsigned>(NumSms()) &&
                         bytes(2) <= kSharedBytesPerSm / 2 - 1024;
  const int budget = shares_sm ? kSharedBytesPerSm / 2 - 1024 : kSharedBytes;
  layout.stages = 1;
  while (layout.stages < kMaxStages && bytes(layout.stages + 1) <= budget) ++layout.stages;
  layout.staging = layout.stages * layout.tiles;
  layout.small = (layout.staging + staging) * kTileBytes;
  layout.barriers = layout.small + layout.stages * kSmallFloats * static_cast<int>(sizeof(float));
  layout.bytes = bytes(layout.stages);
  return layout;
}

ScanMaps MakeScanMaps(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* value) {
  ScanMaps maps;
  const bool own = args.decay == DeltaDecay::kPerChannel;
  const int64_t heads = own ? args.value_heads : args.heads;
  const auto keys = [&](const Bf16* x) {
    return MakeTokenMap(x, args.num_tokens, heads, args.key_dim, heads * args.key_dim);
  };
  maps.key = keys(own ? args.k_operand : in.k);
  maps.bar = keys(own ? args.k_bar : in.k);
  maps.query = keys(own ? args.q_operand : in.q);
  maps.value = MakeTokenMap(value, args.num_tokens, args.value_heads, args.value_dim,
                            static_cast<int64_t>(args.value_heads) * args.value_dim);
  maps.inverse = MakeMatrixMap(args.a_inv, args.chunk_heads() * kChunk, kChunk);
  maps.scores = MakeMatrixMap(args.p, args.chunk_heads() * kChunk, kChunk);
  return maps;
}

ScanParams MakeScanParams(const Args& args, ScanKind kind, int groups) {
  ScanParams p;
  p.a = args;
  p.layout = MakeScanLayout(args, kind, groups);
  p.operand_group = args.decay == DeltaDecay::kPerChannel ? 1 : args.group;
  p.has_decay = args.decay != DeltaDecay::kNone;
  return p;
}

}  // namespace wyvern::sm90
