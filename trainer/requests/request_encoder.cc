#include "trainer/requests/request_encoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja_text_methods.h"
#include "data/tokenizer/id_tokenizer.h"
#include "kernels/runtime/status.h"
#include "trainer/scoring/rolling.h"

namespace wyvern {

absl::StatusOr<int32_t> RequestEncoder::StartToken() const {
  if (tokenizer_ == nullptr) {
    return absl::InvalidArgumentError(
        "no tokens, and the checkpoint holds no tokenizer that knows how a text begins; give one "
        "token at least");
  }
  const std::optional<int32_t> bos = tokenizer_->bos_id();
  const std::optional<int32_t> start = bos.has_value() ? bos : tokenizer_->eos_id();
  if (!start.has_value()) {
    return absl::InvalidArgumentError(
        "no tokens, and the tokenizer has neither bos nor eos to begin with; give some text");
  }
  return *start;
}

absl::StatusOr<std::vector<int32_t>> RequestEncoder::Encode(const std::string& text) const {
  if (tokenizer_ == nullptr) {
    return absl::InvalidArgumentError(
        "the checkpoint holds no tokenizer; give a list of token ids instead of a text");
  }
  RETURN_IF_ERROR(CheckIsIds(*tokenizer_, text));
  std::vector<int32_t> ids = tokenizer_->Encode(text);
  if (!options_.add_bos) return ids;
  const std::optional<int32_t> bos = tokenizer_->bos_id();
  if (!bos.has_value()) return absl::InvalidArgumentError("the tokenizer has no bos to add");
  if (ids.empty() || ids[0] != *bos) ids.insert(ids.begin(), *bos);
  return ids;
}

absl::Status RequestEncoder::CheckIds(const std::vector<int32_t>& ids) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size_) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", id, " is not in the model's vocabulary of ", vocab_size_));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ScoreRequest> RequestEncoder::EncodePair(std::string context,
                                                        std::string continuation) const {
  if (context.empty()) {
    RequestEncoder plain = *this;
    plain.options_.add_bos = false;
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, plain.Encode(continuation));
    return Pair({}, std::move(ids));
  }
  const size_t kept = jinja::Strip(context, nullptr, jinja::Side::kBack).size();
  continuation.insert(0, context, kept);
  context.resize(kept);
  ASSIGN_OR_RETURN(std::vector<int32_t> whole, Encode(context + continuation));
  ASSIGN_OR_RETURN(std::vector<int32_t> before, Encode(context));
  whole.erase(whole.begin(),
              whole.begin() + static_cast<ptrdiff_t>(std::min(whole.size(), before.size())));
  return Pair(std::move(before), std::move(whole));
}

absl::StatusOr<ScoreRequest> RequestEncoder::Pair(std::vector<int32_t> context,
                                                  std::vector<int32_t> continuation) const {
  if (context.empty() && !continuation.empty()) {
    ASSIGN_OR_RETURN(const int32_t start, StartToken());
    if (continuation[0] == start) continuation.erase(continuation.begin());
    context = {start};
  }
  if (continuation.empty()) {
    return absl::InvalidArgumentError("the continuation has no token of its own");
  }
  RETURN_IF_ERROR(CheckIds(context));
  RETURN_IF_ERROR(CheckIds(continuation));
  if (options_.max_length > 0) {
    // The last token is only predicted, not read.
    const int64_t room = options_.max_length + 1 - static_cast<int64_t>(continuation.size());
    if (room < 1) {
      return absl::InvalidArgumentError(absl::StrCat("the continuation has ", continuation.size(),
                                                     " tokens, more than the --max-length of ",
                                                     options_.max_length));
    }
    const auto size = static_cast<int64_t>(context.size());
    context.erase(context.begin(), context.begin() + std::max<int64_t>(0, size - room));
  }
  return ScoreRequest{std::move(context), std::move(continuation)};
}

absl::StatusOr<std::vector<ScoreRequest>> RequestEncoder::Windows(
    const std::vector<int32_t>& ids) const {
  if (ids.empty()) return std::vector<ScoreRequest>();
  RETURN_IF_ERROR(CheckIds(ids));
  ASSIGN_OR_RETURN(const int32_t start, StartToken());
  return RollingRequests(ids, start, options_.max_length);
}

absl::StatusOr<std::vector<int32_t>> RequestEncoder::Prompt(std::vector<int32_t> ids,
                                                            int64_t max_tokens) const {
  if (ids.empty()) {
    ASSIGN_OR_RETURN(const int32_t start, StartToken());
    ids = {start};
  }
  RETURN_IF_ERROR(CheckIds(ids));
  if (options_.max_length > 0) {
    const int64_t room = options_.max_length - max_tokens;
    if (room < 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          "max_tokens: ", max_tokens, " leave no room for the prompt in the --max-length of ",
          options_.max_length));
    }
    const auto size = static_cast<int64_t>(ids.size());
    ids.erase(ids.begin(), ids.begin() + std::max<int64_t>(0, size - room));
  }
  return ids;
}

}  // namespace wyvern
