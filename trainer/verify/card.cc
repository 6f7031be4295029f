#include "trainer/verify/card.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace wyvern {
namespace {

template <typename Check>
bool AllPassed(const std::vector<Check>& checks) {
  return std::all_of(checks.begin(), checks.end(), [](const Check& c) { return c.passed(); });
}

const char* Verdict(bool passed) { return passed ? "passed" : "FAILED"; }

// "all 120 equal", or what is not.
std::string Differences(const std::vector<std::string>& different, int64_t count) {
  constexpr size_t kShown = 5;
  if (count == 0) return "there were none";
  if (different.empty()) return absl::StrCat("all ", count, " equal");
  const auto shown = static_cast<int64_t>(std::min(different.size(), kShown));
  return absl::StrCat(different.size(), " of ", count, " differ: ",
                      absl::StrJoin(different.begin(), different.begin() + shown, ", "),
                      different.size() > kShown ? ", ..." : "");
}

std::string ResumeTable(const std::vector<ResumeCheck>& checks) {
  std::string text =
      "\n## Resume\n\nA run was continued from each of its checkpoints. At the end every loss and "
      "every tensor, the\noptimizer's too, has the bits of the run that was not interrupted.\n\n"
      "| from step | to step | tensors and losses | |\n|---|---|---|---|\n";
  for (const ResumeCheck& c : checks) {
    absl::StrAppend(&text, "| ", c.from_step, " | ", c.to_step, " | ",
                    Differences(c.different, c.num_tensors + c.num_losses), " | ",
                    Verdict(c.passed()), " |\n");
  }
  return text;
}

std::string ExportTable(const std::vector<ExportCheck>& checks) {
  std::string rows, others;
  for (const ExportCheck& c : checks) {
    if (c.why_not.empty()) {
      absl::StrAppend(&rows, "| ", c.family, " | ", Differences(c.different, c.num_tensors), " | ",
                      Verdict(c.passed()), " |\n");
    } else {
      absl::StrAppend(&others, "- ", c.family, ": ", absl::StrJoin(c.why_not, "; "), "\n");
    }
  }
  return absl::StrCat(
      "\n## Export\n\n",
      rows.empty() ? "No Hugging Face family can hold the model.\n"
                   : "The last checkpoint was written in fp32 as each Hugging Face family that can "
                     "hold it, and read again.\n\n| family | tensors | |\n|---|---|---|\n",
      rows, others.empty() ? "" : "\nThe others cannot hold it:\n\n", others);
}

std::string NumbersTable(const NumbersCheck& check) {
  constexpr size_t kShown = 8;
  std::vector<NumbersCheck::Row> rows = check.rows;
  // The nearest to their limits first.
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return a.passed() != b.passed() ? b.passed() : a.error * b.limit > b.error * a.limit;
  });
  const auto num_failed = std::count_if(rows.begin(), rows.end(),
                                        [](const NumbersCheck::Row& r) { return !r.passed(); });
  std::string text = absl::StrFormat(
      "\n## Logits and gradients\n\nThe last checkpoint's model over %d tokens, beside %s. The "
      "cosine of a token's logits with the\nreference's is %.8f in the mean and %.8f at least. Of "
      "%d quantities, %d are beyond their limits.\nErrors are relative: root mean squares of "
      "tensors. The nearest to their limits, and the logits:\n\n"
      "| quantity | error | limit | |\n|---|---|---|---|\n",
      check.num_tokens, check.reference, check.mean_cosine, check.least_cosine, rows.size(),
      num_failed);
  for (size_t i = 0; i < rows.size(); ++i) {
    const NumbersCheck::Row& row = rows[i];
    if (i >= kShown && row.passed() && row.quantity != "logits") continue;
    absl::StrAppendFormat(&text, "| %s | %.2e | %.2e | %s |\n", row.quantity, row.error, row.limit,
                          Verdict(row.passed()));
  }
  return text;
}

std::string SpeedTable(const StepBench& speed) {
  std::string text = absl::StrFormat(
      "\n## Speed\n\n| | |\n|---|---|\n| step | %d x %d tokens, %d blocks recomputed |\n"
      "| median | %.2f ms |\n| tokens a second | %.0f |\n",
      speed.options.micro_batches * speed.options.sequences, speed.options.seq_len,
      speed.recompute_blocks, speed.MedianMs(), speed.TokensPerSecond());
  if (speed.Mfu() > 0) absl::StrAppendFormat(&text, "| MFU | %.1f%% |\n", 100 * speed.Mfu());
  absl::StrAppendFormat(&text, "| peak memory | %.2f GB |\n| device | %s |\n",
                        static_cast<double>(speed.peak_bytes) / 1e9, speed.rates.Describe());
  return text;
}

}  // namespace

bool NumbersCheck::passed() const { return !rows.empty() && AllPassed(rows); }

bool Card::passed() const {
  return (!resume.has_value() || AllPassed(*resume)) &&
         (!exports.has_value() || AllPassed(*exports)) &&
         (!numbers.has_value() || numbers->passed());
}

nlohmann::json Card::Json() const {
  nlohmann::json card = {{"name", name}, {"passed", passed()}};
  for (const auto& [fact, value] : facts) card["facts"][fact] = value;
  if (resume.has_value()) {
    for (const ResumeCheck& c : *resume) {
      card["resume"].push_back({{"from_step", c.from_step},
                                {"to_step", c.to_step},
                                {"tensors", c.num_tensors},
                                {"losses", c.num_losses},
                                {"different", c.different},
                                {"passed", c.passed()}});
    }
  }
  if (exports.has_value()) {
    for (const ExportCheck& c : *exports) {
      nlohmann::json row = {{"family", c.family}};
      if (c.why_not.empty()) {
        row.update(
            {{"tensors", c.num_tensors}, {"different", c.different}, {"passed", c.passed()}});
      } else {
        row["cannot_hold_it"] = c.why_not;
      }
      card["exports"].push_back(row);
    }
  }
  if (numbers.has_value()) {
    nlohmann::json& n = card["numbers"] = {{"tokens", numbers->num_tokens},
                                           {"reference", numbers->reference},
                                           {"mean_cosine", numbers->mean_cosine},
                                           {"least_cosine", numbers->least_cosine},
                                           {"passed", numbers->passed()}};
    for (const NumbersCheck::Row& row : numbers->rows) {
      n["errors"].push_back({{"quantity", row.quantity},
                             {"error", row.error},
                             {"limit", row.limit},
                             {"passed", row.passed()}});
    }
  }
  if (speed.has_value()) card["speed"] = speed->Json();
  return card;
}

std::string Card::Markdown() const {
  std::string text = absl::StrCat("# ", name, "\n\n",
                                  passed() ? "Everything that was checked passed."
                                           : "**Not everything that was checked passed.**",
                                  "\n\n| | |\n|---|---|\n");
  for (const auto& [fact, value] : facts) absl::StrAppend(&text, "| ", fact, " | ", value, " |\n");
  if (resume.has_value()) text += ResumeTable(*resume);
  if (exports.has_value()) text += ExportTable(*exports);
  if (numbers.has_value()) text += NumbersTable(*numbers);
  if (speed.has_value()) text += SpeedTable(*speed);
  return text;
}

}  // namespace wyvern
