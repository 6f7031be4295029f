#include "trainer/sweep/sweep_file.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/bounded_file.h"
#include "kernels/runtime/checked_math.h"
#include "kernels/runtime/nearest.h"
#include "kernels/runtime/status.h"
#include "trainer/config/strict_reader.h"

namespace wyvern {
namespace {

using Kind = ConfigNode::Kind;

constexpr size_t kMaxAssignments = 1000;  // of one point

// Reads the parts of a sweep and gathers what is wrong with them.
class SweepReader {
 public:
  explicit SweepReader(std::vector<std::string>* faults) : faults_(faults) {}

  template <typename... Parts>
  void Fault(const std::string& where, const Parts&... parts) {
    faults_->push_back(absl::StrCat(where, ": ", parts...));
  }

  void Append(const std::string& message) { faults_->push_back(message); }

  bool Expect(const ConfigNode& node, Kind kind, const std::string& what, const char* expected) {
    if (node.kind == kind) return true;
    Fault(node.where, what, ": expected ", expected, ", got ", node.Describe());
    return false;
  }

  // A section of keys becomes one assignment for each value in it. A null takes the key away.
  void Assign(const std::string& key, const ConfigNode& value, const std::string& what,
              std::vector<SweepAssignment>* out) {
    if (value.kind == Kind::kMap && !value.map.empty()) {
      for (const auto& [name, child] : value.map) {
        Assign(absl::StrCat(key, ".", name), child, what, out);
      }
      return;
    }
    for (const char* own : {"run.name", "run.dir"}) {
      if (key != own) continue;
      return Fault(value.where, what, ".", key,
                   ": the sweep names its runs; set `name`, `dir` or `run_name` of the sweep");
    }
    if (out->size() == kMaxAssignments) {
      return Fault(value.where, what, ".", key, ": more than ", kMaxAssignments, " keys");
    }
    SweepAssignment assignment{.key = key, .value = value};
    for (const SweepAssignment& other : *out) {
      if (other.key == key) return Fault(value.where, what, ".", key, ": given twice; keep one");
    }
    if (assignment.IsVariable() && value.kind != Kind::kScalar) {
      return Fault(value.where, what, ".", key,
                   ": without a dot it is a variable of the sweep, which holds a number or a "
                   "text, got ",
                   value.Describe());
    }
    if (value.kind == Kind::kScalar && !value.scalar.empty() && value.scalar[0] == '=') {
      absl::StatusOr<Expression> expression = Expression::Parse(value.scalar.substr(1));
      if (!expression.ok()) {
        Fault(value.where, what, ".", key, ": ", expression.status().message());
        faulty.insert(key);
        return;
      }
      assignment.expression = *std::move(expression);
    }
    out->push_back(std::move(assignment));
  }

  void AssignAll(const ConfigNode& section, const std::string& what,
                 std::vector<SweepAssignment>* out) {
    if (section.kind == Kind::kNull || !Expect(section, Kind::kMap, what, "a section of keys")) {
      return;
    }
    for (const auto& [key, value] : section.map) Assign(key, value, what, out);
  }

  void Axis(const ConfigNode& node, size_t index, std::vector<SweepAxis>* out) {
    const std::string what = absl::StrCat("axes[", index, "]");
    if (!Expect(node, Kind::kMap, what, "an axis such as {list: {schedule.peak: [1e-3, 2e-3]}}")) {
      return;
    }
    std::vector<ConfigFault> found;
    StrictReader reader(node, what, &found);
    SweepAxis axis{.where = node.where};
    reader.Value("name", &axis.name);
    const ConfigNode* values = nullptr;
    std::string kind;
    int num_kinds = 0;
    for (const char* name : {"list", "zip", "grid", "points"}) {
      const ConfigNode* child = reader.Raw(name);
      if (child == nullptr) continue;
      values = child;
      kind = name;
      ++num_kinds;
    }
    reader.Finish();
    Report(found);
    if (num_kinds != 1) {
      return Fault(node.where, what, ": expected exactly one of list, zip, grid and points, got ",
                   num_kinds == 0 ? "none" : absl::StrCat(num_kinds));
    }
    const std::string inner = absl::StrCat(what, ".", kind);
    if (!axis.name.empty()) faulty.insert(axis.name);  // until the axis proves sound
    if (values->kind == Kind::kNull || (values->kind == Kind::kMap && values->map.empty())) {
      return Fault(values->where, inner, ": the axis is empty");
    }
    if (!Expect(*values, Kind::kMap, inner,
                kind == "points" ? "names, each with its keys" : "keys, each with a list")) {
      return;
    }
    const size_t before = faults_->size();
    if (kind == "points") {
      std::set<std::string> labels;
      for (const auto& [label, keys] : values->map) {
        SweepPoint point{.label = label};
        if (!labels.insert(label).second) {
          Fault(keys.where, inner, ".", label, ": given twice; keep one");
        }
        AssignAll(keys, absl::StrCat(inner, ".", label), &point.assignments);
        axis.points.push_back(std::move(point));
      }
    } else {
      Lists(*values, kind, inner, &axis);
    }
    // Half an axis would be another sweep.
    if (faults_->size() == before) {
      faulty.erase(axis.name);
      return out->push_back(std::move(axis));
    }
    for (const auto& [key, child] : values->map) faulty.insert(key);
    for (const SweepPoint& point : axis.points) {
      for (const SweepAssignment& assignment : point.assignments) faulty.insert(assignment.key);
    }
  }

  void Tables(const ConfigNode& node, std::map<std::string, SweepTable>* out) {
    if (!Expect(node, Kind::kMap, "tables", "names, each with a section of entries")) return;
    for (const auto& [name, entries] : node.map) {
      const std::string what = absl::StrCat("tables.", name);
      if (!Expect(entries, Kind::kMap, what, "entries such as {256: 2e-3, 512: 1e-3}")) continue;
      SweepTable table{.where = entries.where};
      std::set<SweepValue> seen;
      for (const auto& [key, value] : entries.map) {
        if (!Expect(value, Kind::kScalar, absl::StrCat(what, ".", key), "a number or a text")) {
          continue;
        }
        if (!seen.insert(ValueOfText(key)).second) {
          Fault(value.where, what, ".", key, ": given twice; keep one");
        }
        table.entries.emplace_back(ValueOfText(key), ValueOfText(value.scalar));
      }
      if (!out->emplace(name, std::move(table)).second) {
        Fault(entries.where, what, ": given twice; keep one");
      }
    }
  }

  void Fit(StrictReader* file, FitSection* fit) {
    const ConfigNode* exclude = nullptr;
    file->Section("fit", [&](ConfigVisitor& keys) {
      keys.Value("family", &fit->family);
      int loss = 0;
      keys.Choice("loss", {"val_loss", "loss"}, &loss);
      fit->loss = loss == 0 ? "val_loss" : "loss";
      exclude = static_cast<StrictReader&>(keys).Raw("exclude");
    });
    if (exclude == nullptr || !Expect(*exclude, Kind::kList, "fit.exclude", "a list")) return;
    for (size_t i = 0; i < exclude->list.size(); ++i) {
      const ConfigNode& entry = exclude->list[i];
      const std::string what = absl::StrCat("fit.exclude[", i, "]");
      if (!Expect(entry, Kind::kMap, what, "{run: NAME, reason: TEXT}")) continue;
      std::vector<ConfigFault> found;
      StrictReader reader(entry, what, &found);
      FitSection::Exclusion exclusion{.where = entry.where};
      reader.Value("run", &exclusion.run);
      reader.Value("reason", &exclusion.reason);
      reader.Finish();
      Report(found);
      if (!found.empty()) continue;
      if (exclusion.run.empty()) Fault(entry.where, what, ".run: expected the name of a run");
      if (absl::StripAsciiWhitespace(exclusion.reason).empty()) {
        Fault(entry.where, what, ".reason: a run is left out of the fit only with a stated reason");
      }
      fit->exclude.push_back(std::move(exclusion));
    }
  }

  void Report(const std::vector<ConfigFault>& found) {
    for (const ConfigFault& fault : found) Fault(fault.where, fault.key, ": ", fault.message);
  }

  std::set<std::string> faulty;  // see SweepFile

 private:
  // list, zip and grid: keys, each with its values.
  void Lists(const ConfigNode& values, const std::string& kind, const std::string& what,
             SweepAxis* axis) {
    size_t length = 0;
    for (const auto& [key, list] : values.map) {
      const std::string inner = absl::StrCat(what, ".", key);
      if (list.kind == Kind::kNull || (list.kind == Kind::kList && list.list.empty())) {
        Fault(list.where, inner, ": the axis is empty");
      } else if (Expect(list, Kind::kList, inner, "a list of values")) {
        if (kind == "zip" && length != 0 && list.list.size() != length) {
          Fault(list.where, inner, ": has ", list.list.size(), " values, ", values.map[0].key,
                " has ", length, "; zip takes one of each at a time");
        }
        if (length == 0) length = list.list.size();
      }
    }
    if (kind == "list" && values.map.size() != 1) {
      Fault(values.where, what, ": expected one key, got ", values.map.size(),
            "; zip takes several together, grid combines them");
    }
    int64_t num_points = kind == "zip" ? static_cast<int64_t>(length) : 1;
    for (const auto& [key, list] : values.map) {
      if (kind == "zip") break;
      num_points = SaturatedProduct(num_points, static_cast<int64_t>(list.list.size()));
    }
    if (num_points > kMaxSweepRuns) {
      return Fault(values.where, what, ": more than ", kMaxSweepRuns, " runs");
    }
    const auto point_of = [&](size_t key, size_t i, SweepPoint* point) {
      const auto& [name, list] = values.map[key];
      if (list.kind != Kind::kList || i >= list.list.size()) return;
      Assign(name, list.list[i], what, &point->assignments);
      if (kind == "zip" && key > 0) return;  // the first key names the point
      const std::string label =
          absl::StrCat(name.substr(name.rfind('.') + 1), "_", LabelOf(list.list[i]));
      point->label = point->label.empty() ? label : absl::StrCat(point->label, "-", label);
    };
    std::vector<size_t> at(values.map.size(), 0);
    for (bool more = length > 0; more;) {
      SweepPoint point;
      for (size_t key = 0; key < at.size(); ++key) point_of(key, at[key], &point);
      axis->points.push_back(std::move(point));
      // The next point: the last key runs fastest; of a zip all keys advance together.
      more = false;
      for (size_t key = at.size(); key-- > 0 && !more;) {
        const size_t size = kind == "zip" ? length : values.map[key].value.list.size();
        more = ++at[key] < size;
        if (kind == "zip") {
          std::fill(at.begin(), at.end(), at[key]);
          break;
        }
        if (!more) at[key] = 0;
      }
    }
  }

  static std::string LabelOf(const ConfigNode& value) {
    if (value.kind == Kind::kScalar) return ValueText(ValueOfText(value.scalar));
    std::vector<std::string> parts;
    for (const ConfigNode& entry : value.list) parts.push_back(LabelOf(entry));
    for (const auto& [key, entry] : value.map) parts.push_back(LabelOf(entry));
    return parts.empty() ? "none" : absl::StrJoin(parts, "_");
  }

  std::vector<std::string>* faults_;
};

// Lays the files over each other.
void ReadBase(const ConfigNode* node, const std::string& where, SweepReader* reader,
              ConfigNode* base) {
  std::vector<const ConfigNode*> files;
  if (node != nullptr && node->kind == Kind::kScalar) files = {node};
  if (node != nullptr && node->kind == Kind::kList) {
    for (const ConfigNode& entry : node->list) files.push_back(&entry);
  }
  base->kind = Kind::kMap;
  if (files.empty()) {
    return reader->Fault(node == nullptr ? where : node->where,
                         "base: expected the configuration that every run starts from, a file or "
                         "a list of files laid over each other");
  }
  for (const ConfigNode* file : files) {
    if (!reader->Expect(*file, Kind::kScalar, "base", "the path of a configuration")) continue;
    const absl::StatusOr<std::string> text = ReadFileOf(kConfigurationFile, file->scalar);
    if (!text.ok()) {
      reader->Fault(file->where, "base: ", text.status().message());
      continue;
    }
    absl::StatusOr<ConfigNode> tree = ParseConfigText(*text, file->scalar);
    if (!tree.ok()) {
      reader->Fault(file->where, "base: ", tree.status().message());
    } else if (reader->Expect(*tree, Kind::kMap, file->scalar, "sections such as model:")) {
      for (const std::string& message : RepeatedKeys(*tree)) reader->Append(message);
      MergeConfig(*tree, base);
    }
  }
}

}  // namespace

std::string FolderName(const std::string& text) {
  std::string name = text;
  for (char& c : name) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '-') c = '_';
  }
  return name;
}

std::vector<std::string> TemplateNames(const std::string& text) {
  std::vector<std::string> names;
  for (size_t open = text.find('{'); open != std::string::npos; open = text.find('{', open + 1)) {
    const size_t close = text.find('}', open);
    if (close == std::string::npos) break;
    names.push_back(text.substr(open + 1, close - open - 1));
  }
  return names;
}

absl::StatusOr<FitSource> ReadFitSource(const std::string& path) {
  FitSource source;
  ASSIGN_OR_RETURN(const std::string text, ReadFileOf(kConfigurationFile, path));
  ASSIGN_OR_RETURN(const ConfigNode root, ParseConfigText(text, path));
  std::vector<std::string> faults;
  std::vector<ConfigFault> found;
  SweepReader sweep(&faults);
  StrictReader reader(root, "", &found);
  reader.Value("name", &source.name);
  reader.Value("dir", &source.dir);
  sweep.Fit(&reader, &source.fit);
  sweep.Report(found);
  for (const std::string& message : RepeatedKeys(root)) sweep.Append(message);
  if (!faults.empty()) return absl::InvalidArgumentError(absl::StrJoin(faults, "\n"));
  if (source.dir.empty()) source.dir = "runs/" + source.name;
  return source;
}

absl::StatusOr<SweepFile> ReadSweepFile(const std::string& path, std::vector<std::string>* faults) {
  SweepFile file;
  file.path = path;
  ASSIGN_OR_RETURN(file.text, ReadFileOf(kConfigurationFile, path));
  ASSIGN_OR_RETURN(const ConfigNode root, ParseConfigText(file.text, path));
  SweepReader sweep(faults);
  if (!sweep.Expect(root, Kind::kMap, path, "keys such as name:, base: and axes:")) return file;

  std::vector<ConfigFault> found;
  StrictReader reader(root, "", &found);
  reader.Value("name", &file.name);
  reader.Value("dir", &file.dir);
  reader.Value("run_name", &file.run_name);
  const ConfigNode* base = reader.Raw("base");
  const ConfigNode* set = reader.Raw("set");
  const ConfigNode* axes = reader.Raw("axes");
  const ConfigNode* tables = reader.Raw("tables");
  sweep.Fit(&reader, &file.fit);
  SlurmSection* slurm = &file.slurm;
  reader.Section("slurm", [slurm](ConfigVisitor& keys) {
    keys.Value("partition", &slurm->partition);
    keys.Value("account", &slurm->account);
    keys.Value("time", &slurm->time);
    keys.Value("gpus", &slurm->gpus);
    keys.Value("cpus", &slurm->cpus);
    keys.Value("memory", &slurm->memory);
    keys.Value("at_once", &slurm->at_once);
    keys.Value("options", &slurm->options);
    keys.Value("setup", &slurm->setup);
  });
  reader.Finish();
  sweep.Report(found);

  if (file.name.empty() || FolderName(file.name) != file.name) {
    sweep.Fault(WhereIs(root, "name"), "name: expected letters, digits, '.', '_' or '-', got '",
                file.name, "'");
  }
  if (file.dir.empty()) file.dir = "runs/" + file.name;
  if (slurm->gpus < 0 || slurm->gpus > 1 || slurm->cpus < 1 || slurm->at_once < 0) {
    sweep.Fault(WhereIs(root, "slurm"),
                "slurm: expected gpus 0 or 1 (a run is one process), cpus >= 1 and at_once >= 0");
  }
  ReadBase(base, path, &sweep, &file.base);
  if (set != nullptr) sweep.AssignAll(*set, "set", &file.set);
  if (tables != nullptr) sweep.Tables(*tables, &file.tables);
  if (axes == nullptr || axes->kind == Kind::kNull ||
      (axes->kind == Kind::kList && axes->list.empty())) {
    sweep.Fault(axes == nullptr ? path : axes->where, "axes: expected one axis at least");
  } else if (sweep.Expect(*axes, Kind::kList, "axes", "a list of axes")) {
    for (size_t i = 0; i < axes->list.size(); ++i) sweep.Axis(axes->list[i], i, &file.axes);
  }
  file.faulty = std::move(sweep.faulty);
  return file;
}

}  // namespace wyvern
