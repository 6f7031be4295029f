#include "trainer/evaluation/task_field.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"
#include "trainer/evaluation/yaml_value.h"

namespace wyvern {

using jinja::Value;

absl::StatusOr<TaskField> TaskField::Make(const std::string& key, const ConfigNode& node) {
  TaskField field;
  field.key_ = key;
  ASSIGN_OR_RETURN(field.written_, YamlValue(node));
  int64_t integer = 0;
  const Value& written = field.written_;
  if (written.as_text() != nullptr) {
    ASSIGN_OR_RETURN(JinjaTemplate parsed,
                     JinjaTemplate::Parse(*written.as_text(), absl::StrCat(node.where, ": ", key),
                                          JinjaEnvironment::kTask));
    field.template_ = std::make_shared<const JinjaTemplate>(std::move(parsed));
  } else if (!written.is_list() && written.as_dict() == nullptr &&
             (written.as_bool() != nullptr || !written.AsInt(&integer))) {
    return TaskFault(node, key,
                     absl::StrCat("expected a template, a field's name, an integer or a list, got ",
                                  node.Describe()));
  }
  return field;
}

absl::StatusOr<TaskField::Content> TaskField::Of(const Value& document) const {
  if (template_ == nullptr) return Content{.value = written_, .is_rendered = false};
  if (const Value* member = document.Find(written_)) {
    return Content{.value = *member, .is_rendered = false};
  }
  std::vector<std::pair<std::string, Value>> variables;
  for (const auto& [name, value] : *document.as_dict()) {
    variables.emplace_back(*name.as_text(), value);
  }
  ASSIGN_OR_RETURN(JinjaText text, template_->Render(variables));
  return Content{.value = Value::Text(std::move(text.text)), .is_rendered = true};
}

}  // namespace wyvern
