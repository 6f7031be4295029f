#include "data/tokenizer/tokenize.h"

#include <new>
#include <stdexcept>

#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

// A tokenizer that runs out of memory at a word.
class Exhausted final : public Tokenizer {
 public:
  std::vector<int32_t> Encode(absl::string_view text) const override {
    if (text.find("huge") != absl::string_view::npos) throw std::bad_alloc();
    return inner_->Encode(text);
  }
  std::string Decode(absl::Span<const int32_t> ids) const override { return inner_->Decode(ids); }
  int64_t vocab_size() const override { return inner_->vocab_size(); }
  std::optional<int32_t> bos_id() const override { return inner_->bos_id(); }
  std::optional<int32_t> eos_id() const override { return inner_->eos_id(); }
  std::string kind() const override { return inner_->kind(); }
  const std::string& model() const override { return inner_->model(); }

 private:
  const std::unique_ptr<Tokenizer> inner_ = MakeByteTokenizer();
};

class TokenizeTest : public DataTest {};

TEST_F(TokenizeTest, AnExceptionOfAThreadIsAnError) {
  TextSourceOptions options;
  options.paths = {WriteText("a.txt", "small\n\nhuge\n\nsmall")};
  options.document_separator = "\n\n";
  const auto source = TextSource::Open(options, LongDocuments::kWhole);
  ASSERT_TRUE(source.ok());
  const absl::Status status =
      Tokenize(source->get(), Exhausted(), /*chat=*/nullptr, OnError::kError, 2,
               [](const auto&, int64_t) { return absl::OkStatus(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

}  // namespace
}  // namespace wyvern
