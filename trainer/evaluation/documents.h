// The documents of a task: lines of JSON, an object each.
#ifndef WYVERN_TRAINER_EVALUATION_DOCUMENTS_H_
#define WYVERN_TRAINER_EVALUATION_DOCUMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/jinja_value.h"

namespace wyvern {

struct TaskDocument {
  std::string place;     // "FILE:LINE"
  jinja::Value members;  // a dict
};

// The first `limit` documents of the files (0: all), one file behind another, compressed or not.
// As in lm-eval's data sets each document has the members of all: None where its line has none of
// this name. A member has one type; where some of its numbers are no integers, none is. Errors name
// the file and the line: no object, a member of another type than before. None at all is an error.
absl::StatusOr<std::vector<TaskDocument>> ReadDocuments(const std::vector<std::string>& files,
                                                        int64_t limit);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_DOCUMENTS_H_
