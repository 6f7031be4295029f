// Values of Python's ast.literal_eval, by which lm-eval reads the lists that templates write.
#ifndef WYVERN_TRAINER_EVALUATION_PYTHON_LITERAL_H_
#define WYVERN_TRAINER_EVALUATION_PYTHON_LITERAL_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/chat/jinja_value.h"

namespace wyvern {

// Strings with every prefix but b and f, finite decimal numbers, True, False, None, lists, tuples
// and dicts. Error (InvalidArgument): anything else, or what is nested more than 64 deep.
absl::StatusOr<jinja::Value> ParsePythonLiteral(absl::string_view text);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_PYTHON_LITERAL_H_
