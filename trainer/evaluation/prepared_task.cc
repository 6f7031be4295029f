#include "trainer/evaluation/prepared_task.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja_lexer.h"
#include "data/io/utf8.h"
#include "kernels/runtime/status.h"
#include "trainer/evaluation/documents.h"
#include "trainer/evaluation/python_literal.h"
#include "trainer/requests/json_fields.h"

namespace wyvern {
namespace {

using jinja::Value;

// The pieces that re.split(r"\s+", text) makes.
int64_t CountWords(absl::string_view text) {
  int64_t words = 1;
  while (!text.empty()) {
    const absl::string_view behind = jinja::StripFront(text);
    if (behind.size() < text.size()) {
      ++words;
      text = behind;
    } else {
      text.remove_prefix(1);
      while (!text.empty() && !BeginsCharacter(text[0])) text.remove_prefix(1);
    }
  }
  return words;
}

absl::Status Expected(const char* key, absl::string_view what, const Value& got) {
  const absl::StatusOr<std::string> text = jinja::ToRepr(got);
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": expected ", what, ", got ",
                   text.ok() ? text->substr(0, 100) : std::string(got.TypeName())));
}

absl::StatusOr<std::string> TextOf(const Value& value, const char* key) {
  if (value.as_text() == nullptr) return Expected(key, "a text", value);
  return *value.as_text();
}

absl::StatusOr<std::vector<std::string>> TextsOf(const Value& list, const char* key) {
  std::vector<std::string> texts;
  if (!list.is_list() && !list.is_tuple()) return Expected(key, "a list of texts", list);
  for (const Value& item : list.as_sequence()->items) {
    ASSIGN_OR_RETURN(std::string text, TextOf(item, key));
    texts.push_back(std::move(text));
  }
  return texts;
}

bool IsDigits(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

class Preparer {
 public:
  Preparer(const Task& task, const RequestEncoder& encoder) : task_(task), encoder_(encoder) {}

  absl::Status Add(const TaskDocument& document, PreparedTask* prepared) {
    place_ = document.place;
    document_ = &document.members;
    requests_.clear();
    key_ = {};
    RETURN_IF_ERROR(AddDocument());
    is_first_ = false;
    key_.num_requests = requests_.size();
    prepared->documents.push_back(std::move(key_));
    for (Request& request : requests_) prepared->requests.push_back(std::move(request));
    return absl::OkStatus();
  }

 private:
  absl::Status AddDocument() {
    switch (task_.kind) {
      case TaskKind::kMultipleChoice:
        return AddChoices();
      case TaskKind::kLogLikelihood: {
        ASSIGN_OR_RETURN(const std::string context, Context());
        ASSIGN_OR_RETURN(const Value target, Target());
        ASSIGN_OR_RETURN(const std::string text, TextOf(target, "doc_to_target"));
        return AddPair(context, text);
      }
      case TaskKind::kRolling:
        return AddRolling();
      case TaskKind::kGenerate:
        return AddPrompt();
    }
    return absl::InternalError("a task of no kind");
  }

  // Where there are choices, the digits that a template writes are the number of one.
  absl::StatusOr<Value> TextOrIndex(const TaskField& field, bool* is_rendered) const {
    ASSIGN_OR_RETURN(TaskField::Content content, field.Of(*document_));
    *is_rendered = content.is_rendered;
    if (!content.is_rendered || !task_.doc_to_choice.has_value() ||
        !IsDigits(*content.value.as_text())) {
      return std::move(content.value);
    }
    return ParsePythonLiteral(*content.value.as_text());
  }
  absl::StatusOr<Value> Text() const {
    bool is_rendered = false;
    return Of("doc_to_text", TextOrIndex(*task_.doc_to_text, &is_rendered));
  }
  // A rendered text that looks like a list is one.
  absl::StatusOr<Value> Target() const {
    bool is_rendered = false;
    ASSIGN_OR_RETURN(Value value,
                     Of("doc_to_target", TextOrIndex(*task_.doc_to_target, &is_rendered)));
    const std::string* text = is_rendered ? value.as_text() : nullptr;
    if (text == nullptr || text->size() < 2 || text->front() != '[' || text->back() != ']') {
      return value;
    }
    absl::StatusOr<Value> list = ParsePythonLiteral(*text);
    return list.ok() ? *std::move(list) : value;
  }
  absl::StatusOr<std::vector<std::string>> Choices() const {
    constexpr char kKey[] = "doc_to_choice";
    ASSIGN_OR_RETURN(TaskField::Content content, Of(kKey, task_.doc_to_choice->Of(*document_)));
    Value choices = std::move(content.value);
    if (content.is_rendered) {
      ASSIGN_OR_RETURN(choices, Of("doc_to_choice: the template writes no list as Python does",
                                   ParsePythonLiteral(*choices.as_text())));
    }
    if (const jinja::Dict* members = choices.as_dict()) {
      jinja::List values;
      for (const auto& [name, value] : *members) values.push_back(value);
      choices = Value::OfList(std::move(values));
    }
    ASSIGN_OR_RETURN(std::vector<std::string> texts, TextsOf(choices, kKey));
    if (texts.empty()) return Expected(kKey, "one choice at least", choices);
    return texts;
  }
  absl::StatusOr<std::string> PlainText(const std::optional<TaskField>& field,
                                        const char* key) const {
    if (!field.has_value()) return std::string();
    ASSIGN_OR_RETURN(const TaskField::Content content, Of(key, field->Of(*document_)));
    if (content.value.is_none()) return std::string();
    return TextOf(content.value, key);
  }

  // The text that a model reads of a question.
  absl::StatusOr<std::string> ContextOf(const std::string& question,
                                        const std::string& delimiter) const {
    ASSIGN_OR_RETURN(const std::string description, PlainText(task_.description, "description"));
    ASSIGN_OR_RETURN(const std::string prefix, PlainText(task_.gen_prefix, "gen_prefix"));
    const bool touches = jinja::StripBack(question).size() == question.size() &&
                         jinja::StripFront(prefix).size() == prefix.size();
    const bool needs_delimiter = !prefix.empty() && !question.empty() && touches;
    return absl::StrCat(description, question, needs_delimiter ? delimiter : "", prefix);
  }
  absl::StatusOr<std::string> Context() const {
    ASSIGN_OR_RETURN(const Value value, Text());
    ASSIGN_OR_RETURN(const std::string question, TextOf(value, "doc_to_text"));
    return ContextOf(question, task_.target_delimiter);
  }

  absl::Status AddChoices() {
    ASSIGN_OR_RETURN(const std::vector<std::string> choices, Choices());
    ASSIGN_OR_RETURN(const Value text, Text());
    ASSIGN_OR_RETURN(const Value target, Target());
    int64_t index = 0;
    if (is_first_) {
      choices_are_contexts_ = text.AsInt(&index);
      has_several_targets_ = target.is_list();
    }
    for (const std::string& choice : choices) {
      key_.characters.push_back(CountCharacters(choice));
      key_.bytes.push_back(static_cast<int64_t>(choice.size()));
    }
    RETURN_IF_ERROR(FindRight(choices_are_contexts_ ? text : target, choices));
    if (!choices_are_contexts_) {
      ASSIGN_OR_RETURN(const std::string question, TextOf(text, "doc_to_text"));
      ASSIGN_OR_RETURN(const std::string context, ContextOf(question, task_.target_delimiter));
      for (const std::string& choice : choices) {
        RETURN_IF_ERROR(AddPair(context, task_.target_delimiter + choice));
      }
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::string continuation, jinja::ToText(target));
    for (const std::string& choice : choices) {
      ASSIGN_OR_RETURN(const std::string context, ContextOf(choice, ""));
      RETURN_IF_ERROR(AddPair(context, task_.target_delimiter + continuation));
    }
    return absl::OkStatus();
  }

  absl::Status FindRight(const Value& gold, const std::vector<std::string>& choices) {
    const char* const key = choices_are_contexts_ ? "doc_to_text" : "doc_to_target";
    int64_t index = 0;
    if (has_several_targets_ && !choices_are_contexts_) {
      if (!gold.is_list()) return Expected(key, "a list, as of the first document", gold);
      for (const Value& item : gold.as_sequence()->items) {
        if (!item.AsInt(&index)) return Expected(key, "a list of choices' numbers", gold);
        key_.right.push_back(index);
      }
    } else if (gold.AsInt(&index)) {
      key_.right = {index};
    } else if (gold.as_text() != nullptr) {
      const auto found = std::find(choices.begin(), choices.end(), *gold.as_text());
      key_.right = {found == choices.end() ? -1 : found - choices.begin()};
    } else {
      return Expected(key, "a choice or its number", gold);
    }
    return absl::OkStatus();
  }

  absl::Status AddPair(const std::string& context, const std::string& continuation) {
    ASSIGN_OR_RETURN(ScoreRequest pair, encoder_.EncodePair(context, continuation));
    AddRequest(PairRequest{std::move(pair)});
    return absl::OkStatus();
  }

  absl::Status AddRolling() {
    ASSIGN_OR_RETURN(const Value target, Target());
    ASSIGN_OR_RETURN(const std::string text, TextOf(target, "doc_to_target"));
    key_.num_words = CountWords(text);
    key_.num_bytes = static_cast<int64_t>(text.size());
    TextRequest request;
    request.num_bytes = key_.num_bytes;
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids, encoder_.Encode(text));
    ASSIGN_OR_RETURN(request.windows, encoder_.Windows(ids));
    AddRequest(std::move(request));
    return absl::OkStatus();
  }

  absl::Status AddPrompt() {
    ASSIGN_OR_RETURN(const std::string context, Context());
    ASSIGN_OR_RETURN(const Value target, Target());
    if (is_first_) has_several_targets_ = target.is_list();
    int64_t index = 0;
    if (task_.doc_to_choice.has_value()) {
      ASSIGN_OR_RETURN(const std::vector<std::string> choices, Choices());
      if (!target.AsInt(&index) || index < 0 || index >= static_cast<int64_t>(choices.size())) {
        return Expected("doc_to_target", "a choice's number", target);
      }
      key_.targets = {choices[static_cast<size_t>(index)]};
    } else if (has_several_targets_) {
      key_.one_suffices = true;
      ASSIGN_OR_RETURN(key_.targets, TextsOf(target, "doc_to_target"));
    } else {
      ASSIGN_OR_RETURN(std::string text, Of("doc_to_target", jinja::ToText(target)));
      key_.targets = {std::move(text)};
    }
    PromptRequest prompt;
    prompt.until = task_.until;
    prompt.options.max_tokens = task_.max_gen_toks;
    prompt.options.sampling.temperature = 0;
    prompt.options.eos_id = encoder_.tokenizer()->eos_id();
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, encoder_.Encode(context));
    ASSIGN_OR_RETURN(prompt.prompt, encoder_.Prompt(std::move(ids), task_.max_gen_toks));
    AddRequest(std::move(prompt));
    return absl::OkStatus();
  }

  template <class Work>
  void AddRequest(Work work) {
    Request request;
    request.place = place_;
    request.work = std::move(work);
    requests_.push_back(std::move(request));
  }

  const Task& task_;
  const RequestEncoder& encoder_;
  // lm-eval judges by the first document whether these hold.
  bool is_first_ = true, choices_are_contexts_ = false, has_several_targets_ = false;
  // The document that is being prepared.
  std::string place_;
  const Value* document_ = nullptr;
  DocumentKey key_;
  std::vector<Request> requests_;
};

}  // namespace

absl::StatusOr<PreparedTask> PrepareTask(Task task, int64_t limit, const RequestEncoder& encoder) {
  ASSIGN_OR_RETURN(const std::vector<TaskDocument> documents,
                   ReadDocuments(task.data_files, limit));
  PreparedTask prepared;
  prepared.task = std::move(task);
  Preparer preparer(prepared.task, encoder);
  for (const TaskDocument& document : documents) {
    RETURN_IF_ERROR(Of(document.place, preparer.Add(document, &prepared)));
  }
  return prepared;
}

}  // namespace wyvern
