// The ids of SentencePiece's library, on texts that meet every way of the encoder.
#include "data/tokenizer/sentencepiece_encoder.h"

#include <cmath>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/tokenizer/sentencepiece_api.h"
#include "data/tokenizer/sentencepiece_file.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

std::vector<std::string> Lines() {
  const std::vector<std::string> syllables = {"ba", "le", "st", "mor", "été", "中文", "рус"};
  std::vector<std::string> lines;
  for (uint64_t i = 0; i < 800; ++i) {
    std::string word;
    for (uint64_t rest = i * i * 2654435761 % 50021; rest > 0; rest /= 7) {
      word += syllables[rest % 7];
    }
    lines.push_back(absl::StrCat("the rule ", word, " erases, then  writes ", i % 17, " states"));
  }
  return lines;
}

std::string Train(const std::string& type) {
  std::string error;
  std::string model =
      TrainSentencePiece({type, type == "bpe" ? 370 : 340, 0.999, 1}, Lines(), &error);
  EXPECT_EQ(error, "");
  return model;
}

// Sets a member of the normalizer's message, by the byte before it, which is there with 0.
void SetFlag(char key, std::string* model) {
  const size_t message = model->find("identity");
  ASSERT_NE(message, std::string::npos);
  const size_t flag = model->find(std::string({key, '\0'}), message);
  ASSERT_NE(flag, std::string::npos);
  (*model)[flag + 1] = 1;
}

// A text of parts that the model knows, knows in part, and does not know.
std::string SomeText(std::mt19937* random) {
  static const std::vector<std::string> parts = {
      "the",  "rule", " ",  "  ",     "   ", "erases", "writes", "st",
      "ates", "été",  "中", "文字",   "рус", "ский",   "\n",     "\t",
      "1",    "23",   "▁",  "<0x41>", "<s>", "</s>",   "<unk>",  "\xf0\x9f\x98\x80",
      "Ω",    ";",    ",",  "x",      "q",   "\r\n"};
  std::string text;
  for (int i = static_cast<int>((*random)() % 60); i > 0; --i)
    text += parts[(*random)() % parts.size()];
  return text;
}

// Versions of the library choose among equal sums of scores by their rounding; 0.1.97's is ours.
bool AreEqualOrTied(const std::vector<int32_t>& ours, const std::vector<int32_t>& theirs,
                    const SentencePieceFile& file) {
  const auto sum = [&file](const std::vector<int32_t>& ids) {
    double scores = 0;
    for (const int32_t id : ids) scores += double{file.pieces[static_cast<size_t>(id)].score};
    return scores;
  };
  if (ours == theirs) return true;
  return file.model_type == SentencePieceFile::kUnigram && ours.size() == theirs.size() &&
         std::abs(sum(ours) - sum(theirs)) < 1e-3;
}

TEST(SentencePieceEncoder, GivesTheIdsOfTheLibrary) {
  for (const char* type : {"bpe", "unigram"}) {
    const std::string model = Train(type);
    // The same with a space before every text: add_dummy_prefix of the normalizer's message.
    for (const bool prefix : {false, true}) {
      std::string changed = model;
      if (prefix) SetFlag('\x18', &changed);
      std::string error;
      const auto library = SentencePieceModel::Load(changed, &error);
      ASSERT_NE(library, nullptr) << error;
      const auto encoder = SentencePieceEncoder::Make(changed);
      ASSERT_NE(encoder, nullptr) << type;
      const auto file = ReadSentencePieceFile(changed);
      std::string all;
      for (const std::string& line : Lines()) {
        absl::StrAppend(&all, line, "\n", std::string(40, 'e'));
      }
      EXPECT_TRUE(AreEqualOrTied(encoder->Encode(all), library->Encode(all), *file)) << type;
      std::mt19937 random(3);
      for (int i = 0; i < 3000; ++i) {
        const std::string text = SomeText(&random);
        ASSERT_TRUE(AreEqualOrTied(encoder->Encode(text), library->Encode(text), *file))
            << type << prefix << " '" << text << "'";
      }
    }
  }
}

TEST(SentencePieceEncoder, LeavesOtherModelsToTheLibrary) {
  const std::string model = Train("bpe");
  EXPECT_EQ(SentencePieceEncoder::Make("no model"), nullptr);
  EXPECT_EQ(SentencePieceEncoder::Make(model.substr(0, model.size() / 2)), nullptr);
  // remove_extra_whitespaces of the normalizer's message.
  std::string other = model;
  SetFlag('\x20', &other);
  EXPECT_EQ(SentencePieceEncoder::Make(other), nullptr);
  const auto file = ReadSentencePieceFile(model);
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(file->pieces.size(), 370u);
  EXPECT_EQ(file->pieces[1].text, "<s>");
  EXPECT_EQ(file->pieces[1].type, SentencePieceFile::kControl);
  EXPECT_EQ(file->model_type, SentencePieceFile::kBpe);
  EXPECT_TRUE(file->byte_fallback);
  EXPECT_FALSE(file->add_dummy_prefix);
}

}  // namespace
}  // namespace wyvern
