#include "trainer/report/family.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/json_members.h"
#include "trainer/report/chart.h"
#include "trainer/report/metrics_file.h"

namespace wyvern {
namespace {

constexpr int kColors = 6;
constexpr double kWidth = 960, kRowHeight = 34;

// Two spellings of one folder, and links to it, are the same.
std::string Canonical(const std::string& folder) {
  std::error_code error;
  const std::filesystem::path path =
      std::filesystem::weakly_canonical(std::filesystem::absolute(folder), error);
  if (error) return folder;
  return (path.has_filename() ? path : path.parent_path()).string();  // without a slash at its end
}

struct Row {
  size_t member = 0;
  std::optional<size_t> parent_row;
  double begin = 0, end = 0;  // steps of the family
};

// Parents before their children, and the children of one together.
std::vector<Row> RowsOf(const std::vector<FamilyMember>& members) {
  const std::vector<std::optional<size_t>> parents = ParentsIn(members);
  std::vector<Row> rows;
  // `origin`: where step 0 of the member lies.
  const std::function<void(size_t, double, std::optional<size_t>)> add =
      [&](size_t member, double origin, std::optional<size_t> parent_row) {
        const FamilyMember& run = members[member];
        const bool is_branch = run.parent.has_value() && run.parent->continues;
        const auto first = static_cast<double>(is_branch ? run.parent->step : 0);
        const auto last = static_cast<double>(run.last_step);
        const size_t row = rows.size();
        rows.push_back({member, parent_row, origin + first, origin + std::max(first, last)});
        for (size_t child = 0; child < members.size(); ++child) {
          if (parents[child] != member) continue;
          const RunParent& from = *members[child].parent;
          add(child, from.continues ? origin : origin + static_cast<double>(from.step), row);
        }
      };
  for (size_t i = 0; i < members.size(); ++i) {
    if (!parents[i].has_value()) add(i, 0, std::nullopt);
  }
  return rows;
}

}  // namespace

std::optional<RunParent> ParentOf(absl::string_view metrics_jsonl) {
  std::optional<RunParent> last;
  for (const MetricsLine& line : ParseMetrics(metrics_jsonl).lines) {
    const nlohmann::json record = line.row.value("parent", nlohmann::json());
    const JsonMembers parent(record, "the parent");
    const std::string path = parent.String("path").value_or("");
    if (path.empty()) continue;
    // RUN/checkpoints/step_00000010, or an imported checkpoint or a folder of weights.
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    last =
        RunParent{.run = folder.filename() == "checkpoints" ? folder.parent_path().string() : path,
                  .step = parent.Count("step").value_or(0),
                  .continues = parent.String("kind").value_or("") == "branch"};
  }
  return last;
}

std::vector<std::optional<size_t>> ParentsIn(const std::vector<FamilyMember>& members) {
  std::vector<std::optional<size_t>> parents(members.size());
  for (size_t i = 0; i < members.size(); ++i) {
    if (!members[i].parent.has_value()) continue;
    const std::string folder = Canonical(members[i].parent->run);
    for (size_t j = 0; j < members.size(); ++j) {
      if (j != i && Canonical(members[j].folder) == folder) parents[i] = j;
    }
  }
  // Folders may have been swapped since: a member that is its own ancestor has no parent here.
  for (size_t i = 0; i < members.size(); ++i) {
    std::optional<size_t> ancestor = parents[i];
    for (size_t n = 0; n < members.size() && ancestor.has_value(); ++n) {
      if (ancestor == i) {
        parents[i].reset();
        break;
      }
      ancestor = parents[*ancestor];
    }
  }
  return parents;
}

std::string RenderFamily(const std::vector<FamilyMember>& members) {
  const std::vector<Row> rows = RowsOf(members);
  const bool related = std::any_of(rows.begin(), rows.end(),
                                   [](const Row& row) { return row.parent_row.has_value(); });
  if (!related) return "";
  double last = 1;
  for (const Row& row : rows) last = std::max(last, row.end);
  const auto x = [&](double step) { return 8 + step / last * (kWidth - 16); };
  const auto y = [](size_t row) { return kRowHeight * static_cast<double>(row) + 24; };
  std::string svg;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    const FamilyMember& run = members[row.member];
    const size_t color = row.member % kColors + 1;
    std::string about;
    if (row.parent_row.has_value()) {
      absl::StrAppendFormat(&svg,
                            "<polyline class=\"faint c%d\"%s points=\"%.1f,%.1f %.1f,%.1f\"/>\n"
                            "<circle class=\"c%d\" r=\"3.5\" cx=\"%.1f\" cy=\"%.1f\"/>\n",
                            color, run.parent->continues ? "" : " stroke-dasharray=\"4 3\"",
                            x(row.begin), y(*row.parent_row), x(row.begin), y(i), color,
                            x(row.begin), y(*row.parent_row));
      about = absl::StrCat(run.parent->continues ? ", branch of " : ", weights of ",
                           members[rows[*row.parent_row].member].name, " at step ",
                           GroupedNumber(run.parent->step));
    } else if (run.parent.has_value()) {
      about = absl::StrCat(run.parent->continues ? ", branch of " : ", weights of ",
                           run.parent->run, " at step ", GroupedNumber(run.parent->step));
    }
    absl::StrAppendFormat(&svg, "<polyline class=\"c%d\" points=\"%.1f,%.1f %.1f,%.1f\"/>\n", color,
                          x(row.begin), y(i), x(row.end), y(i));
    // Beside a line in the right half a text would leave the page.
    const bool on_the_left = row.begin > last / 2;
    absl::StrAppendFormat(
        &svg, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\"%s>%s</text>\n",
        on_the_left ? x(row.end) : x(row.begin) + 6, y(i) - 7,
        on_the_left ? " text-anchor=\"end\"" : "",
        EscapeHtml(absl::StrCat(run.name, about, ", to step ", GroupedNumber(run.last_step))));
  }
  return absl::StrFormat(
      "<figure class=\"wide\"><figcaption><h2>Family</h2><span class=\"note\">steps; a dashed line "
      "takes the weights alone</span></figcaption>\n<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
      "aria-label=\"Family\">\n%s</svg></figure>\n",
      kWidth, kRowHeight * static_cast<double>(rows.size()), svg);
}

}  // namespace wyvern
