#include "trainer/requests/request_encoder.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "tests/trainer/requests/piece_tokenizer.h"

namespace wyvern {
namespace {

using Ids = std::vector<int32_t>;

// 0 to 6, then eos, which is 7.
const PieceTokenizer& Pieces() {
  static const auto& tokenizer = *new PieceTokenizer({"a", "b", "ab", " ", " b", "\n", "\u3000"});
  return tokenizer;
}

void ExpectPair(const absl::StatusOr<ScoreRequest>& pair, const Ids& context,
                const Ids& continuation) {
  ASSERT_TRUE(pair.ok()) << pair.status();
  EXPECT_EQ(pair->context, context);
  EXPECT_EQ(pair->continuation, continuation);
}

RequestEncoder Encoder(EncoderOptions options = {}) {
  return RequestEncoder(&Pieces(), Pieces().vocab_size(), options);
}

TEST(RequestEncoder, SpaceAtTheContextsEndGoesToTheContinuation) {
  ExpectPair(Encoder().EncodePair("a", " b"), {0}, {4});
  ExpectPair(Encoder().EncodePair("a ", "b"), {0}, {4});
  ExpectPair(Encoder().EncodePair("a\n ", "b"), {0}, {5, 4});
  ExpectPair(Encoder().EncodePair("a\u3000", "b"), {0}, {6, 1});  // Python's strip takes it, too
  ExpectPair(Encoder().EncodePair(" a", "a"), {3, 0}, {0});
}

TEST(RequestEncoder, TheContinuationIsWhatTheWholeTextHasMore) {
  // "aab" is a, ab: the context's two tokens are taken off, and one of the two that differ with it.
  ExpectPair(Encoder().EncodePair("aa", "ba"), {0, 0}, {0});
  const auto none = Encoder().EncodePair("aa", "b");
  EXPECT_EQ(none.status().message(), "the continuation has no token of its own");
}

TEST(RequestEncoder, AnEmptyContextIsBosOrEos) {
  ExpectPair(Encoder().EncodePair("", "ab"), {7}, {2});
  ExpectPair(Encoder().EncodePair(" ", "a"), {7}, {3, 0});
  const PieceTokenizer with_bos({"a", "b"}, /*has_bos=*/true);
  const RequestEncoder encoder(&with_bos, 4, {});
  ExpectPair(encoder.EncodePair("", "ab"), {0}, {1, 2});
  ExpectPair(encoder.Pair({}, {0, 2}), {0}, {2});  // begins with it already
  EXPECT_EQ(*encoder.Prompt({}, 4), Ids{0});
  const RequestEncoder adding(&with_bos, 4, {.add_bos = true});
  ExpectPair(adding.EncodePair("a", "b"), {0, 1}, {2});
  ExpectPair(adding.EncodePair("", "ab"), {0}, {1, 2});
  EXPECT_EQ(*adding.Encode("ab"), (Ids{0, 1, 2}));
  EXPECT_EQ(Encoder({.add_bos = true}).Encode("a").status().message(),
            "the tokenizer has no bos to add");
}

TEST(RequestEncoder, ContextsAreCutFromTheLeft) {
  // Read are all tokens but the last.
  ExpectPair(Encoder({.max_length = 4}).EncodePair("aaaa", "aa"), {0, 0, 0}, {0, 0});
  ExpectPair(Encoder({.max_length = 4}).EncodePair("aaaaa", " b"), {0, 0, 0, 0}, {4});
  ExpectPair(Encoder({.max_length = 2}).Pair({1, 2, 3}, {0, 0}), {3}, {0, 0});
  const auto longer = Encoder({.max_length = 2}).Pair({1}, {0, 0, 0});
  EXPECT_TRUE(absl::StrContains(longer.status().message(), "has 3 tokens, more than the "))
      << longer.status();
  EXPECT_EQ(*Encoder({.max_length = 6}).Prompt({1, 2, 3, 0}, 4), (Ids{3, 0}));
  EXPECT_EQ(*Encoder().Prompt({1, 2, 3, 0}, 4), (Ids{1, 2, 3, 0}));
  EXPECT_FALSE(Encoder({.max_length = 4}).Prompt({1}, 4).ok());
}

TEST(RequestEncoder, WindowsOfATextBeginWithItsStart) {
  const auto windows = Encoder({.max_length = 3}).Windows({0, 1, 2, 3, 4});
  ASSERT_TRUE(windows.ok());
  ASSERT_EQ(windows->size(), 2u);
  ExpectPair((*windows)[0], {7}, {0, 1, 2});
  ExpectPair((*windows)[1], {1, 2}, {3, 4});
  EXPECT_TRUE(Encoder().Windows({})->empty());
}

TEST(RequestEncoder, IdsAreThoseOfTheModel) {
  for (const int32_t id : {-1, 8}) {
    EXPECT_TRUE(absl::StrContains(Encoder().Pair({0}, {id}).status().message(),
                                  "is not in the model's vocabulary of 8"));
    EXPECT_FALSE(Encoder().Pair({id}, {0}).ok());
    EXPECT_FALSE(Encoder().Windows({id}).ok());
    EXPECT_FALSE(Encoder().Prompt({id}, 1).ok());
  }
  const RequestEncoder ids(nullptr, 8, {});
  ExpectPair(ids.Pair({1}, {2}), {1}, {2});
  EXPECT_FALSE(ids.Encode("a").ok());
  EXPECT_FALSE(ids.Pair({}, {2}).ok());
}

}  // namespace
}  // namespace wyvern
