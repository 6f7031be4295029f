#include "trainer/sweep/sweep_folder.h"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/config/load.h"
#include "trainer/run/run_data.h"

namespace wyvern {
namespace {

nlohmann::json RecordOf(const SweepPlan& plan) {
  nlohmann::json record = {{"name", plan.file.name}, {"runs", nlohmann::json::array()}};
  for (const SweepRun& run : plan.runs) {
    nlohmann::json values = nlohmann::json::object();
    for (const auto& [name, value] : run.values) {
      if (const auto* number = std::get_if<double>(&value)) {
        values[name] = *number;
      } else {
        values[name] = std::get<std::string>(value);
      }
    }
    record["runs"].push_back({{"name", run.name},
                              {"values", values},
                              {"parameters", run.parameters},
                              {"flops_per_token", run.flops_per_token},
                              {"tokens", static_cast<int64_t>(run.Tokens())},
                              {"steps", run.Steps()},
                              {"config_hash", ConfigHash(run.config)}});
  }
  return record;
}

// The keys that the sweep now gives a run otherwise than when it was begun; empty when it was not.
std::vector<std::string> ChangesSinceBegun(const SweepRun& run) {
  std::error_code error;
  if (!std::filesystem::exists(run.Dir() + "/metrics.jsonl", error)) return {};
  const std::string path = run.Dir() + "/config.yaml";
  const absl::StatusOr<std::string> text = ReadFileOf(kConfigurationFile, path);
  if (!text.ok()) return {};
  const absl::StatusOr<RunConfig> before = ParseRunConfig(*text, path);
  if (!before.ok()) return {std::string(before.status().message())};
  return Differences(*before, run.config);
}

}  // namespace

absl::Status WriteSweepFolder(const SweepPlan& plan) {
  std::vector<std::string> changed;
  for (const SweepRun& run : plan.runs) {
    const std::vector<std::string> differences = ChangesSinceBegun(run);
    if (!differences.empty()) {
      changed.push_back(absl::StrCat(run.Dir(), ": ", absl::StrJoin(differences, "; ")));
    }
  }
  if (!changed.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        changed.size(), changed.size() == 1 ? " run was" : " runs were",
        " begun with another configuration; remove the folders to run them anew, or give the "
        "sweep another dir\n  ",
        absl::StrJoin(changed, "\n  ")));
  }
  RETURN_IF_ERROR(MakeFolders(plan.file.dir));
  RETURN_IF_ERROR(WriteFileAtomically(plan.file.dir + "/sweep.yaml", plan.file.text));
  RETURN_IF_ERROR(
      WriteFileAtomically(plan.file.dir + "/sweep.json", JsonText(RecordOf(plan), 2) + "\n"));
  for (const SweepRun& run : plan.runs) {
    RETURN_IF_ERROR(MakeFolders(run.Dir()));
    RETURN_IF_ERROR(WriteFileAtomically(run.Dir() + "/config.yaml", ToYaml(run.config)));
  }
  return absl::OkStatus();
}

absl::Status PrepareSweepData(const SweepPlan& plan) {
  absl::Status first;
  std::set<std::string> made;
  for (const SweepRun& run : plan.runs) {
    RunConfig data;  // tokenizer and sources alone: what the stores depend on
    data.tokenizer = run.config.tokenizer;
    for (const RunSource& source : SourcesOf(run.config)) {
      data.data.sources.push_back(source.source);
    }
    data.validation.sets = run.config.validation.sets;
    if (!made.insert(ToYaml(data)).second) continue;
    const absl::StatusOr<RunData> prepared = PrepareRunData(run.config, run.stages);
    if (!prepared.ok()) {
      Say(absl::StrCat("data of run ", run.name, ": ", prepared.status().message()));
      first.Update(prepared.status());
    }
    std::fflush(stdout);
  }
  return first;
}

}  // namespace wyvern
