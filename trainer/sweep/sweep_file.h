// A sweep as its YAML file describes it. trainer/sweep/README.md explains the keys.
#ifndef WYVERN_TRAINER_SWEEP_SWEEP_FILE_H_
#define WYVERN_TRAINER_SWEEP_SWEEP_FILE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/config/node.h"
#include "trainer/sweep/expression.h"

namespace wyvern {

// The limit of one sweep's runs, and so of one axis' points.
inline constexpr int64_t kMaxSweepRuns = 10000;

// A key and what it is given.
struct SweepAssignment {
  std::string key;  // "train.tokens"; without a dot, a variable of the sweep itself
  ConfigNode value;
  std::optional<Expression> expression;  // of a value that begins with '='

  bool IsVariable() const { return key.find('.') == std::string::npos; }
};

struct SweepPoint {
  std::string label;  // part of the run's name
  std::vector<SweepAssignment> assignments;
};

// One dimension: every run takes one point of each axis.
struct SweepAxis {
  std::string name;   // stands for the point's label in expressions; may be empty
  std::string where;  // "sweep.yaml:7"
  std::vector<SweepPoint> points;
};

struct SweepTable {
  std::string where;
  std::vector<std::pair<SweepValue, SweepValue>> entries;
};

// How `wyvern fit` reads the sweep's runs.
struct FitSection {
  struct Exclusion {
    std::string where, run, reason;
  };
  std::string family;             // the name of a value of each run; empty: all are one family
  std::string loss = "val_loss";  // the last validation loss; loss: the mean of the last tenth
  std::vector<Exclusion> exclude;
};

// The requests of the sbatch script.
struct SlurmSection {
  std::string partition, account, time;  // empty: the cluster's default
  int64_t gpus = 1, cpus = 8;            // of one run, which is one process
  std::string memory;
  int64_t at_once = 0;               // runs at the same time; 0: no limit
  std::vector<std::string> options;  // more of sbatch's, as in "--constraint=h100"
  std::vector<std::string> setup;    // shell commands before the run
};

struct SweepFile {
  std::string path;  // of the YAML file
  std::string text;  // its content
  std::string name;
  std::string dir;       // of the sweep: runs/<name> unless given
  std::string run_name;  // "{layout}-{size}"; empty: the points' labels, joined
  ConfigNode base;       // the base configurations, laid over each other
  std::vector<SweepAssignment> set;
  std::vector<SweepAxis> axes;
  std::map<std::string, SweepTable> tables;
  FitSection fit;
  SlurmSection slurm;
  // Keys, variables and axes that the file means to give but whose parts have faults: what depends
  // on them is not at fault itself.
  std::set<std::string> faulty;
};

// Appends "where: key: message" for every fault; what has one is left out of the result. Errors: a
// file that cannot be read or is no YAML.
absl::StatusOr<SweepFile> ReadSweepFile(const std::string& path, std::vector<std::string>* faults);

// The part of a sweep's file that `wyvern fit` needs; its base may be gone.
struct FitSource {
  std::string name, dir;
  FitSection fit;
};
// Errors: a file that cannot be read; every fault in `fit`.
absl::StatusOr<FitSource> ReadFitSource(const std::string& path);

// The names between braces in a template such as "{layout}-{size}".
std::vector<std::string> TemplateNames(const std::string& text);

// Letters, digits, '.', '_' and '-' as they are, all else as '_'.
std::string FolderName(const std::string& text);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SWEEP_SWEEP_FILE_H_
