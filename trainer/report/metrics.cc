#include "trainer/report/metrics.h"

#include <fcntl.h>

#include <cerrno>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "kernels/runtime/status.h"
#include "trainer/report/metrics_file.h"

namespace wyvern {

std::string StepMetrics::ToJson() const {
  nlohmann::ordered_json json;
  json["step"] = step;
  json["tokens"] = tokens;
  const auto put = [&](const char* key, const auto& value) {
    if (value.has_value()) json[key] = *value;
  };
  put("loss", loss);
  put("val_loss", val_loss);
  put("val_bits_per_byte", val_bits_per_byte);
  for (const SetMetrics& set : sets) {
    json["validation"][set.name]["loss"] = set.loss;
    if (set.bits_per_byte.has_value()) {
      json["validation"][set.name]["bits_per_byte"] = *set.bits_per_byte;
    }
  }
  for (const TaskMetrics& task : tasks) {
    for (const TaskMetrics::Score& score : task.scores) {
      json["evaluation"][task.name][score.metric] = score.value;
      if (score.standard_error.has_value()) {
        json["evaluation"][task.name][score.metric + "_stderr"] = *score.standard_error;
      }
    }
  }
  for (const SourceMetrics& source : sources) {
    if (source.loss.has_value()) json["loss_by_source"][source.name] = *source.loss;
    json["epochs"][source.name] = source.epochs;
  }
  put("grad_norm", grad_norm);
  put("lr", lr);
  put("max_logit", max_logit);
  put("clipped_heads", clipped_heads);
  put("tokens_per_s", tokens_per_s);
  put("mfu", mfu);
  put("step_ms", step_ms);
  put("peak_bytes", peak_bytes);
  put("checkpoint_stall_ms", checkpoint_stall_ms);
  put("checkpoint_s", checkpoint_s);
  put("waiting", waiting);
  put("waiting_slowest", waiting_slowest);
  put("slowest_rank", slowest_rank);
  for (const ExpertMetrics& e : experts) {
    json["experts"]["layer"].push_back(e.layer);
    json["experts"]["max_load"].push_back(e.max_load);
    json["experts"]["entropy"].push_back(e.entropy);
  }
  put("dropped", dropped);
  put("balance_loss", balance_loss);
  if (!parent.is_null()) json["parent"] = parent;
  if (skipped) json["skipped"] = true;
  if (!time.empty()) json["time"] = time;
  put("elapsed_s", elapsed_s);
  return json.dump();
}

std::vector<std::pair<std::string, double>> StepMetrics::Scalars() const {
  std::vector<std::pair<std::string, double>> scalars;
  const auto put = [&](const std::string& name, const auto& value) {
    if (value.has_value()) scalars.emplace_back(name, static_cast<double>(*value));
  };
  put("train/loss", loss);
  put("validation/loss", val_loss);
  put("validation/bits_per_byte", val_bits_per_byte);
  for (const SetMetrics& set : sets) {
    scalars.emplace_back(absl::StrCat("validation_loss/", set.name), set.loss);
    put(absl::StrCat("validation_bits_per_byte/", set.name), set.bits_per_byte);
  }
  for (const TaskMetrics& task : tasks) {
    for (const TaskMetrics::Score& score : task.scores) {
      scalars.emplace_back(absl::StrCat("evaluation/", task.name, "/", score.metric), score.value);
    }
  }
  for (const SourceMetrics& source : sources) {
    put(absl::StrCat("source_loss/", source.name), source.loss);
    scalars.emplace_back(absl::StrCat("source_epochs/", source.name), source.epochs);
  }
  put("train/grad_norm", grad_norm);
  put("train/learning_rate", lr);
  put("train/max_logit", max_logit);
  put("train/clipped_heads", clipped_heads);
  put("speed/tokens_per_s", tokens_per_s);
  put("speed/mfu", mfu);
  put("speed/step_ms", step_ms);
  put("speed/waiting", waiting);
  put("speed/waiting_slowest", waiting_slowest);
  put("memory/peak_bytes", peak_bytes);
  put("checkpoint/stall_ms", checkpoint_stall_ms);
  put("checkpoint/seconds", checkpoint_s);
  for (const ExpertMetrics& e : experts) {
    scalars.emplace_back(absl::StrFormat("expert_max_load/layer_%02d", e.layer), e.max_load);
    scalars.emplace_back(absl::StrFormat("expert_entropy/layer_%02d", e.layer), e.entropy);
  }
  put("experts/dropped", dropped);
  put("train/balance_loss", balance_loss);
  return scalars;
}

namespace {

// Keeps a damaged file under a name of its own. Returns the name.
absl::StatusOr<std::string> SetAside(const std::string& path, const std::string& text) {
  std::string name = path + ".damaged";
  std::error_code error;
  for (int i = 2; std::filesystem::exists(name, error); ++i) {
    name = absl::StrCat(path, ".damaged-", i);
  }
  RETURN_IF_ERROR(WriteFileAtomically(name, text));
  return name;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsLog>> MetricsLog::Open(const std::string& run_dir,
                                                             int64_t last_step,
                                                             std::string* warning) {
  const std::string path = run_dir + "/metrics.jsonl";
  std::string kept;
  double elapsed = 0;
  std::error_code error;
  if (std::filesystem::exists(path, error)) {
    ASSIGN_OR_RETURN(const std::string text, ReadFileOf(kMetricsFile, path));
    const MetricsLines metrics = ParseMetrics(text);
    for (const MetricsLine& line : metrics.lines) {
      if (line.step > last_step) continue;
      absl::StrAppend(&kept, line.text, "\n");
      const auto seconds = line.row.find("elapsed_s");
      if (seconds != line.row.end() && seconds->is_number()) elapsed = seconds->get<double>();
    }
    if (!metrics.unreadable.empty()) {
      ASSIGN_OR_RETURN(const std::string aside, SetAside(path, text));
      *warning =
          absl::StrCat(UnreadableText(path, metrics.unreadable), "; the file as it was is ", aside);
    }
  }
  RETURN_IF_ERROR(WriteFileAtomically(path, kept));
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "cannot open", path);
  return std::unique_ptr<MetricsLog>(new MetricsLog(path, fd, elapsed));
}

absl::Status MetricsLog::Append(StepMetrics metrics) {
  metrics.time = UtcTime();
  metrics.elapsed_s = std::round((MonotonicSeconds() - start_) * 1e3) / 1e3;
  return file_.Append(metrics.ToJson() + "\n");
}

}  // namespace wyvern
