// Compares what the ranks of a run report before it starts, and measures the network between
// them: the rank that is not like the others is named before it costs hours.
#ifndef WYVERN_TRAINER_RUN_PREFLIGHT_H_
#define WYVERN_TRAINER_RUN_PREFLIGHT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/config/run_config.h"
#include "trainer/parallel/mesh.h"
#include "trainer/run/run_data.h"

namespace wyvern {

// One thing that is to be the same everywhere.
struct RankFact {
  enum class Weight { kError, kWarning };
  std::string name;   // "NVIDIA driver"; a rank without it has no such fact
  std::string value;  // "580.65.06"
  Weight weight = Weight::kError;

  bool operator==(const RankFact&) const = default;
};
using RankFacts = std::vector<RankFact>;

// The value that most ranks report (among equals, the lowest rank's), and the ranks that differ.
struct FactRow {
  std::string name, value;
  std::vector<int> odd;  // ranks
};
struct FactComparison {
  std::vector<FactRow> rows;                  // in the order in which the ranks first name them
  std::vector<std::string> errors, warnings;  // "rank 1 (node7): NVIDIA driver 570.10, where ..."
};
// `of_ranks[r]` are the facts of rank r, on the host hosts[r].
FactComparison CompareFacts(const std::vector<RankFacts>& of_ranks,
                            const std::vector<std::string>& hosts);

// The library versions of this process: of Wyvern, of what a run on `device` uses, and the GPU.
RankFacts FactsOfProcess(Device device);

// One start of a run, on one rank or several. All of them make the same calls, in this order, and
// get the same statuses.
class Preflight {
 public:
  // `config` is this rank's, and need not be the others'; both outlive this. `process`: as
  // FactsOfProcess gives it.
  Preflight(const RunConfig& config, World* world, RankFacts process);
  Preflight(const RunConfig& config, World* world);

  // Error: another configuration or another Wyvern or NCCL on one rank, naming it and the keys.
  absl::Status CheckRanks();
  // Sums numbers over the mesh's axes and takes the time. Error: a wrong sum.
  absl::Status MeasureMesh(const Mesh& mesh);
  // Error: a token store of another content on one rank, naming both.
  absl::Status CheckData(const RunData& data);

  // The table of what was found so far, with the warnings under it.
  std::string Table() const;
  // This rank's findings, for its log.
  const std::string& notes() const { return notes_; }

 private:
  void Note(const std::string& line);
  absl::Status Compare(const RankFacts& facts);
  std::vector<std::string> Hosts() const;
  absl::Status OtherConfiguration(const std::string& message) const;
  void AddAxis(const std::string& name, Communicator* group, bool* correct);

  const RunConfig& config_;
  World* const world_;
  const RankFacts process_;
  std::vector<FactRow> rows_;
  std::vector<std::string> warnings_;
  std::string notes_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_PREFLIGHT_H_
