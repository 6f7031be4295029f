#include "data/tokenizer/sentencepiece_api.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <exception>
#include <unordered_map>

namespace wyvern {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, by which pieces write a space

class Model final : public SentencePieceModel {
 public:
  sentencepiece::util::Status Load(const std::string& model) {
    return processor_.LoadFromSerializedProto(model);
  }
  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int> ids;
    processor_.Encode(text, &ids).IgnoreError();  // fails only for a model that is not loaded
    return ids;
  }
  std::string Decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    processor_.Decode(ids, &text).IgnoreError();
    return text;
  }
  std::string BytesOf(int id) const override {
    if (processor_.IsControl(id)) return "";
    const std::string& piece = processor_.IdToPiece(id);
    // "<0xE2>"
    if (processor_.IsByte(id))
      return {static_cast<char>(std::stoi(piece.substr(1, 4), nullptr, 16))};
    if (processor_.IsUnknown(id)) return Decode({id});
    std::string text;
    for (size_t i = 0; i < piece.size();) {
      const bool space = piece.compare(i, kSpace.size(), kSpace) == 0;
      text += space ? ' ' : piece[i];
      i += space ? kSpace.size() : 1;
    }
    return text;
  }
  int vocab_size() const override { return processor_.GetPieceSize(); }
  int bos_id() const override { return processor_.bos_id(); }
  int eos_id() const override { return processor_.eos_id(); }

 private:
  sentencepiece::SentencePieceProcessor processor_;
};

class LineIterator final : public sentencepiece::SentenceIterator {
 public:
  explicit LineIterator(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return next_ == lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  size_t next_ = 0;
};

// The library begins its messages with "src/FILE.cc(LINE) [CONDITION] ", which helps no user.
std::string WithoutPlace(const std::string& message) {
  const size_t place = message.find(".cc(");
  if (place == std::string::npos) return message;
  const size_t end = message.rfind("] ");
  const std::string words = end == std::string::npos ? "" : message.substr(end + 2);
  return words.empty() ? "it cannot be parsed" : words;
}

}  // namespace

std::unique_ptr<SentencePieceModel> SentencePieceModel::Load(const std::string& model,
                                                             std::string* error) {
  try {
    auto loaded = std::make_unique<Model>();
    const sentencepiece::util::Status status = loaded->Load(model);
    if (status.ok() && loaded->vocab_size() > 0) return loaded;
    *error = status.ok() ? "it holds no pieces" : WithoutPlace(status.error_message());
  } catch (const std::exception&) {  // of an empty piece, for one
    *error = "its pieces cannot be looked up";
  }
  return nullptr;
}

std::string TrainSentencePiece(const SentencePieceTraining& training,
                               const std::vector<std::string>& lines, std::string* error) {
  const std::unordered_map<std::string, std::string> options = {
      {"model_type", training.type},
      {"vocab_size", std::to_string(training.vocab_size)},
      {"character_coverage", std::to_string(training.character_coverage)},
      {"num_threads", std::to_string(training.num_threads)},
      {"max_sentence_length", std::to_string(kMaxTrainingLine)},
      {"byte_fallback", "true"},
      {"split_digits", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"minloglevel", "2"},
  };
  std::string model;
  try {
    LineIterator iterator(lines);
    const auto status = sentencepiece::SentencePieceTrainer::Train(options, &iterator, &model);
    if (!status.ok()) *error = WithoutPlace(status.error_message());
  } catch (const std::exception& exception) {
    *error = exception.what();
  }
  if (error->empty() && model.empty()) *error = "the trainer gave no model";
  return model;
}

}  // namespace wyvern
