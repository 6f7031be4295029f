#include "trainer/verify/card.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/clock.h"

namespace wyvern {
namespace {

constexpr const char* kChecks[] = {"resume", "exports", "numbers", "speed"};

template <typename Check>
bool AllPassed(const std::vector<Check>& checks) {
  return std::all_of(checks.begin(), checks.end(), [](const Check& c) { return c.passed(); });
}

const char* Verdict(const nlohmann::json& row) { return row["passed"] ? "passed" : "FAILED"; }

// A number that is none is null in JSON.
double Number(const nlohmann::json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

// "all 120 equal", or what is not.
std::string Differences(const nlohmann::json& different, int64_t count) {
  constexpr size_t kShown = 5;
  if (count == 0) return "there were none";
  if (different.empty()) return absl::StrCat("all ", count, " equal");
  const auto names = different.get<std::vector<std::string>>();
  const size_t shown = std::min(names.size(), kShown);
  return absl::StrCat(names.size(), " of ", count,
                      " differ: ", absl::StrJoin(names.begin(), names.begin() + shown, ", "),
                      names.size() > kShown ? ", ..." : "");
}

std::string ResumeTable(const nlohmann::json& checks) {
  std::string text =
      "\n## Resume\n\nA run was continued from each of its checkpoints. At the end every loss and "
      "every tensor, the\noptimizer's too, has the bits of the run that was not interrupted.\n\n"
      "| from step | to step | tensors and losses | |\n|---|---|---|---|\n";
  for (const nlohmann::json& c : checks) {
    absl::StrAppend(
        &text, "| ", c["from_step"].get<int64_t>(), " | ", c["to_step"].get<int64_t>(), " | ",
        Differences(c["different"], c["tensors"].get<int64_t>() + c["losses"].get<int64_t>()),
        " | ", Verdict(c), " |\n");
  }
  return text;
}

std::string ExportTable(const nlohmann::json& checks) {
  std::string rows, others;
  for (const nlohmann::json& c : checks) {
    const auto family = c["family"].get<std::string>();
    if (!c.contains("cannot_hold_it")) {
      absl::StrAppend(&rows, "| ", family, " | ", Differences(c["different"], c["tensors"]), " | ",
                      Verdict(c), " |\n");
    } else {
      absl::StrAppend(&others, "- ", family, ": ",
                      absl::StrJoin(c["cannot_hold_it"].get<std::vector<std::string>>(), "; "),
                      "\n");
    }
  }
  return absl::StrCat(
      "\n## Export\n\n",
      rows.empty() ? "No Hugging Face family can hold the model.\n"
                   : "The last checkpoint was written in fp32 as each Hugging Face family that can "
                     "hold it, and read again.\n\n| family | tensors | |\n|---|---|---|\n",
      rows, others.empty() ? "" : "\nThe others cannot hold it:\n\n", others);
}

std::string NumbersTable(const nlohmann::json& check) {
  constexpr size_t kShown = 8;
  std::vector<nlohmann::json> rows = check.value("errors", std::vector<nlohmann::json>());
  // The nearest to their limits first.
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    if (a["passed"] != b["passed"]) return b["passed"].template get<bool>();
    return Number(a["error"]) * Number(b["limit"]) > Number(b["error"]) * Number(a["limit"]);
  });
  const auto num_failed =
      std::count_if(rows.begin(), rows.end(), [](const auto& r) { return !r["passed"]; });
  std::string text = absl::StrFormat(
      "\n## Logits and gradients\n\nThe last checkpoint's model over %d tokens, beside %s. The "
      "cosine of a token's logits with the\nreference's is %.8f in the mean and %.8f at least. Of "
      "%d quantities, %d are beyond their limits.\nErrors are relative: root mean squares of "
      "tensors. The nearest to their limits, and the logits:\n\n"
      "| quantity | error | limit | |\n|---|---|---|---|\n",
      check["tokens"].get<int64_t>(), check["reference"].get<std::string>(),
      Number(check["mean_cosine"]), Number(check["least_cosine"]), rows.size(), num_failed);
  for (size_t i = 0; i < rows.size(); ++i) {
    const nlohmann::json& row = rows[i];
    if (i >= kShown && row["passed"] && row["quantity"] != "logits") continue;
    absl::StrAppendFormat(&text, "| %s | %.2e | %.2e | %s |\n", row["quantity"].get<std::string>(),
                          Number(row["error"]), Number(row["limit"]), Verdict(row));
  }
  return text;
}

std::string SpeedTable(const nlohmann::json& speed) {
  std::string text = absl::StrFormat(
      "\n## Speed\n\n| | |\n|---|---|\n| step | %d x %d tokens, %d blocks recomputed |\n"
      "| median | %.2f ms |\n| tokens a second | %.0f |\n",
      speed["micro_batches"].get<int64_t>() * speed["sequences"].get<int64_t>(),
      speed["seq_len"].get<int64_t>(), speed["recompute_blocks"].get<int64_t>(),
      Number(speed["step_ms"]), Number(speed["tokens_per_s"]));
  if (speed.contains("mfu")) {
    absl::StrAppendFormat(&text, "| MFU | %.1f%% |\n", 100 * Number(speed["mfu"]));
  }
  absl::StrAppendFormat(&text, "| peak memory | %.2f GB |\n| copies | %.0f GB/s |\n",
                        Number(speed["peak_bytes"]) / 1e9, Number(speed["copy_bytes_per_s"]) / 1e9);
  return text;
}

// Whether nothing in a section of a card has failed.
bool AllPassedIn(const nlohmann::json& section) {
  if (section.is_object()) return section.value("passed", true);
  return std::all_of(section.begin(), section.end(),
                     [](const nlohmann::json& row) { return row.value("passed", true); });
}

}  // namespace

bool NumbersCheck::passed() const { return !rows.empty() && AllPassed(rows); }

bool Card::passed() const {
  return (!resume.has_value() || AllPassed(*resume)) &&
         (!exports.has_value() || AllPassed(*exports)) &&
         (!numbers.has_value() || numbers->passed());
}

nlohmann::json Card::Json() const {
  nlohmann::json card = {{"name", name}, {"passed", passed()}, {"made_at", UtcTime()}};
  card["facts"] = facts;
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

std::string KeepOtherChecks(const nlohmann::json& older, nlohmann::json* card) {
  const nlohmann::json& facts = (*card)["facts"];
  const nlohmann::json before = older.value("facts", nlohmann::json());
  if (before != facts) {
    for (const nlohmann::json& fact : facts) {
      if (std::find(before.begin(), before.end(), fact) == before.end()) return fact[0];
    }
    return "with";  // it had another one
  }
  for (const char* check : kChecks) {
    if (card->contains(check) || !older.contains(check)) continue;
    (*card)[check] = older[check];
    (*card)["passed"] = (*card)["passed"] && AllPassedIn(older[check]);
  }
  return "";
}

std::string CardMarkdown(const nlohmann::json& card) {
  std::vector<std::string> missing;
  for (const char* check : kChecks) {
    if (!card.contains(check)) missing.emplace_back(check);
  }
  std::string text = absl::StrCat(
      "# ", card["name"].get<std::string>(), "\n\n",
      card["passed"] ? "Everything that was checked passed."
                     : "**Not everything that was checked passed.**",
      missing.empty() ? "" : absl::StrCat(" Not checked: ", absl::StrJoin(missing, ", "), "."),
      "\n\n| | |\n|---|---|\n| made at | ", card["made_at"].get<std::string>(), " |\n");
  for (const nlohmann::json& fact : card["facts"]) {
    absl::StrAppend(&text, "| ", fact[0].get<std::string>(), " | ", fact[1].get<std::string>(),
                    " |\n");
  }
  if (card.contains("resume")) text += ResumeTable(card["resume"]);
  if (card.contains("exports")) text += ExportTable(card["exports"]);
  if (card.contains("numbers")) text += NumbersTable(card["numbers"]);
  if (card.contains("speed")) text += SpeedTable(card["speed"]);
  return text;
}

}  // namespace wyvern
