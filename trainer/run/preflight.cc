#include "trainer/run/preflight.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/runtime/clock.h"
#include "kernels/runtime/status.h"
#include "trainer/config/load.h"

namespace wyvern {
namespace {

constexpr char kConfiguration[] = "configuration";
constexpr int kRepeats = 3;  // measured sums, after one that is not
constexpr size_t kMaxNamed = 8;

const RankFact* Find(const RankFacts& facts, const std::string& name) {
  const auto found = std::find_if(facts.begin(), facts.end(),
                                  [&](const RankFact& fact) { return fact.name == name; });
  return found == facts.end() ? nullptr : &*found;
}

// Fields cannot hold the separators: versions and names of one line.
std::string ToText(const RankFacts& facts) {
  std::string text;
  for (const RankFact& fact : facts) {
    absl::StrAppend(&text, fact.name, "\t", fact.value, "\t",
                    fact.weight == RankFact::Weight::kError ? "e" : "w", "\n");
  }
  return text;
}

RankFacts FromText(const std::string& text) {
  RankFacts facts;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    if (fields.size() != 3) continue;
    facts.push_back({fields[0], fields[1],
                     fields[2] == "e" ? RankFact::Weight::kError : RankFact::Weight::kWarning});
  }
  return facts;
}

std::string Joined(std::vector<std::string> parts, const char* separator) {
  const size_t count = parts.size();
  if (count > kMaxNamed) {
    parts.resize(kMaxNamed);
    parts.push_back(absl::StrCat("and ", count - kMaxNamed, " more"));
  }
  return absl::StrJoin(parts, separator);
}

FactRow RowOf(const std::string& name, const std::vector<RankFacts>& of_ranks) {
  std::vector<std::string> values;
  for (const RankFacts& facts : of_ranks) {
    const RankFact* fact = Find(facts, name);
    values.push_back(fact == nullptr ? "none" : fact->value);
  }
  FactRow row{.name = name};
  int64_t most = 0;
  for (const std::string& value : values) {
    const int64_t count = std::count(values.begin(), values.end(), value);
    if (count > most) row.value = value;
    most = std::max(most, count);
  }
  for (size_t r = 0; r < values.size(); ++r) {
    if (values[r] != row.value) row.odd.push_back(static_cast<int>(r));
  }
  return row;
}

std::string Describe(const FactRow& row, const std::vector<RankFacts>& of_ranks,
                     const std::vector<std::string>& hosts) {
  std::vector<std::string> odd;
  for (const int rank : row.odd) {
    const auto r = static_cast<size_t>(rank);
    const RankFact* fact = Find(of_ranks[r], row.name);
    odd.push_back(absl::StrCat("rank ", rank, " (", hosts[r], ") has ",
                               fact == nullptr ? "none" : fact->value));
  }
  const size_t others = of_ranks.size() - row.odd.size();
  return absl::StrCat(
      row.name, ": ", Joined(odd, ", "), ", expected ", row.value, " as on ",
      others == 1 ? "the other rank" : absl::StrCat("the other ", others, " ranks"));
}

}  // namespace

FactComparison CompareFacts(const std::vector<RankFacts>& of_ranks,
                            const std::vector<std::string>& hosts) {
  FactComparison comparison;
  std::set<std::string> seen;
  for (const RankFacts& facts : of_ranks) {
    for (const RankFact& fact : facts) {
      if (!seen.insert(fact.name).second) continue;
      const FactRow row = RowOf(fact.name, of_ranks);
      if (!row.odd.empty()) {
        const std::string text = Describe(row, of_ranks, hosts);
        (fact.weight == RankFact::Weight::kError ? comparison.errors : comparison.warnings)
            .push_back(text);
      }
      comparison.rows.push_back(row);
    }
  }
  return comparison;
}

Preflight::Preflight(const RunConfig& config, World* world, RankFacts process)
    : config_(config), world_(world), process_(std::move(process)) {}

Preflight::Preflight(const RunConfig& config, World* world)
    : Preflight(
          config, world,
          FactsOfProcess(config.run.device == Device::kCuda && CudaAvailable() ? Device::kCuda
                                                                               : Device::kCpu)) {}

std::vector<std::string> Preflight::Hosts() const {
  std::vector<std::string> hosts;
  for (int r = 0; r < world_->size(); ++r) hosts.push_back(world_->host_name(r));
  return hosts;
}

void Preflight::Note(const std::string& line) { absl::StrAppend(&notes_, line, "\n"); }

absl::Status Preflight::Compare(const RankFacts& facts) {
  std::vector<RankFacts> of_ranks;
  for (const std::string& text : GatherTexts(world_->host(), ToText(facts))) {
    of_ranks.push_back(FromText(text));
  }
  const FactComparison comparison = CompareFacts(of_ranks, Hosts());
  rows_.insert(rows_.end(), comparison.rows.begin(), comparison.rows.end());
  warnings_.insert(warnings_.end(), comparison.warnings.begin(), comparison.warnings.end());
  for (const RankFact& fact : facts) Note(absl::StrCat(fact.name, ": ", fact.value));
  for (const std::string& warning : comparison.warnings) Note("warning: " + warning);
  if (comparison.errors.empty()) return absl::OkStatus();
  // Everyone has the same table, and so the same message.
  return absl::FailedPreconditionError(
      absl::StrCat("preflight: ", absl::StrJoin(comparison.errors, "\n  ")));
}

absl::Status Preflight::CheckRanks() {
  SetCommActivity("preflight");
  RankFacts facts = process_;
  facts.push_back({kConfiguration, ConfigHash(config_)});
  const absl::Status status = Compare(facts);
  return status.ok() ? status : OtherConfiguration(std::string(status.message()));
}

// Adds the keys in which the first rank with another configuration differs.
absl::Status Preflight::OtherConfiguration(const std::string& message) const {
  const auto row = std::find_if(rows_.begin(), rows_.end(),
                                [](const FactRow& r) { return r.name == kConfiguration; });
  std::string more;
  if (row != rows_.end() && !row->odd.empty()) {
    const std::vector<std::string> configurations = GatherTexts(world_->host(), ToYaml(config_));
    const int odd = row->odd.front();
    int usual = 0;
    while (std::count(row->odd.begin(), row->odd.end(), usual) > 0) ++usual;
    const auto expected = ParseRunConfig(configurations[static_cast<size_t>(usual)], "expected");
    const auto found = ParseRunConfig(configurations[static_cast<size_t>(odd)], "found");
    if (expected.ok() && found.ok()) {
      more = absl::StrCat("\n  rank ", odd, " has ", Joined(Differences(*expected, *found), ", "));
    }
  }
  return absl::FailedPreconditionError(message + more);
}

void Preflight::AddAxis(const std::string& name, Communicator* group, bool* correct) {
  const bool cuda = group->device() == Device::kCuda;
  const int64_t count = cuda ? int64_t{16} << 20 : int64_t{64} << 10;
  // Every group of the axis, and every rank, sums at the same time.
  const Tensor numbers = Tensor::Empty({count}, DType::kFloat32, group->device());
  double seconds = 1e30;
  if (group->size() > 1) {
    for (int i = 0; i <= kRepeats; ++i) {
      const std::vector<float> own(static_cast<size_t>(count),
                                   static_cast<float>(group->rank() + 1));
      CopyBytes(numbers.raw(), numbers.device(), own.data(), Device::kCpu, numbers.nbytes());
      Synchronize(numbers.device());
      group->Barrier();
      const double begin = MonotonicSeconds();
      group->AllReduce(numbers.raw(), numbers.raw(), count, DType::kFloat32).Wait();
      Synchronize(numbers.device());
      if (i > 0) seconds = std::min(seconds, MonotonicSeconds() - begin);
      const int sum = group->size() * (group->size() + 1) / 2;
      const auto expected = static_cast<float>(sum);
      for (const float x : numbers.ToVector<float>()) *correct = *correct && x == expected;
    }
  }
  std::vector<double> all(static_cast<size_t>(world_->size()));
  world_->host().AllGather(&seconds, all.data(), 1, DType::kFloat64);
  const double bytes = static_cast<double>(numbers.nbytes());
  // Each rank sends and receives this much on the best of algorithms.
  const double moved = 2.0 * (group->size() - 1) / group->size() * bytes;
  const auto slowest = std::max_element(all.begin(), all.end());
  const auto fastest = std::min_element(all.begin(), all.end());
  FactRow row{.name = name};
  row.value = absl::StrFormat("%d ranks, sum of %.1f MB: %.2f GB/s", group->size(), bytes / 1e6,
                              moved / *slowest / 1e9);
  if (*slowest > 1.5 * *fastest) {
    absl::StrAppendFormat(&row.value, " at rank %d (%s), %.2f GB/s at rank %d",
                          slowest - all.begin(),
                          world_->host_name(static_cast<int>(slowest - all.begin())),
                          moved / *fastest / 1e9, fastest - all.begin());
  }
  if (group->size() > 1) {
    Note(absl::StrFormat("%s: %.2f GB/s on this rank", name, moved / seconds / 1e9));
  }
  rows_.push_back(row);
}

absl::Status Preflight::MeasureMesh(const Mesh& mesh) {
  SetCommActivity("preflight, sums over the mesh");
  bool correct = true;
  const MeshShape& shape = mesh.shape();
  if (shape.replicate > 1) AddAxis("replicate", &mesh.replicate(), &correct);
  if (shape.shard > 1) AddAxis("shard", &mesh.shard(), &correct);
  if (shape.context > 1) AddAxis("context", &mesh.context(), &correct);
  return Agree(world_->host(), correct ? absl::OkStatus()
                                       : absl::InternalError("preflight: a sum over the ranks is "
                                                             "wrong; the network or a GPU is "
                                                             "broken"));
}

absl::Status Preflight::CheckData(const RunData& data) {
  SetCommActivity("preflight, data");
  RankFacts facts;
  for (const std::shared_ptr<TokenStore>& store : data.AllStores()) {
    facts.push_back({store->path(), store->fingerprint()});
  }
  return Compare(facts);
}

std::string Preflight::Table() const {
  std::set<std::string> hosts;
  for (const std::string& host : Hosts()) hosts.insert(host);
  std::string text = absl::StrFormat("preflight: %d %s on %d %s\n", world_->size(),
                                     world_->size() == 1 ? "rank" : "ranks", hosts.size(),
                                     hosts.size() == 1 ? "host" : "hosts");
  size_t width = 0;
  for (const FactRow& row : rows_) width = std::max(width, row.name.size());
  for (const FactRow& row : rows_) {
    absl::StrAppendFormat(&text, "  %-*s  %s%s\n", width, row.name, row.value,
                          row.odd.empty() ? "" : absl::StrFormat(" (not on %d)", row.odd.size()));
  }
  for (const std::string& warning : warnings_) {
    absl::StrAppend(&text, "  warning: ", warning, "\n");
  }
  return text;
}

}  // namespace wyvern
