#include "trainer/report/metrics_file.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/json.h"

namespace wyvern {
namespace {

std::optional<int64_t> StepOf(const nlohmann::json& row) {
  if (!row.is_object()) return std::nullopt;
  const auto step = row.find("step");
  if (step == row.end() || !step->is_number_integer()) return std::nullopt;
  // One above the range of int64_t is negative here.
  const auto value = step->get<int64_t>();
  return value < 0 ? std::nullopt : std::optional<int64_t>(value);
}

}  // namespace

MetricsLines ParseMetrics(absl::string_view text) {
  MetricsLines result;
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const absl::string_view line = text.substr(0, end);
    const bool ended = end != absl::string_view::npos;
    text.remove_prefix(ended ? end + 1 : text.size());
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    absl::StatusOr<nlohmann::json> row = ParseJson(line, "");
    const std::optional<int64_t> step = row.ok() ? StepOf(*row) : std::nullopt;
    if (step.has_value()) {
      result.lines.push_back({*step, *std::move(row), line});
    } else if (ended) {
      result.unreadable.push_back(number);
    } else {
      result.torn = true;
    }
  }
  return result;
}

std::string UnreadableText(const std::string& path, const std::vector<int64_t>& unreadable) {
  if (unreadable.empty()) return "";
  constexpr size_t kShown = 10;
  const std::vector<int64_t> shown(unreadable.begin(),
                                   unreadable.begin() + std::min(kShown, unreadable.size()));
  return absl::StrCat(
      path, unreadable.size() == 1 ? ": line " : ": lines ", absl::StrJoin(shown, ", "),
      unreadable.size() > kShown ? absl::StrCat(" and ", unreadable.size() - kShown, " more") : "",
      unreadable.size() == 1 ? " cannot be read and is left out"
                             : " cannot be read and are left out");
}

}  // namespace wyvern
