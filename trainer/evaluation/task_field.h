// A key such as doc_to_text: how a value is made of each document.
#ifndef WYVERN_TRAINER_EVALUATION_TASK_FIELD_H_
#define WYVERN_TRAINER_EVALUATION_TASK_FIELD_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/chat/jinja.h"
#include "trainer/config/node.h"

namespace wyvern {

class TaskField {
 public:
  // `node` is an integer, a list or a section, which stand for themselves, or a text: the name of a
  // field, and where the documents have none of this name a template. Errors name the line.
  static absl::StatusOr<TaskField> Make(const std::string& key, const ConfigNode& node);

  struct Content {
    jinja::Value value;
    bool is_rendered = false;  // by the template: a text
  };
  // `document` is a dict. Errors name the key: as of JinjaTemplate::Render.
  absl::StatusOr<Content> Of(const jinja::Value& document) const;

 private:
  std::string key_;
  jinja::Value written_;
  std::shared_ptr<const JinjaTemplate> template_;  // null where the value stands for itself
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_TASK_FIELD_H_
