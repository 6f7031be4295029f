#include "data/tokenizer/end_of_turn.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "data/tokenizer/byte_tokenizer.h"

namespace wyvern {
namespace {

std::string EndOf(const std::string& source) {
  const auto chat = ChatTemplate::Make({.source = source, .origin = "chat.jinja"});
  EXPECT_TRUE(chat.ok()) << chat.status();
  return FindEndOfTurn(**chat, *MakeByteTokenizer()).ToString();
}

// One that is a token of its own is in tests/trainer/loop/chat_run_test.cc.
TEST(EndOfTurnTest, ItIsTheTextBehindTheAnswer) {
  EXPECT_EQ(EndOf("{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]\n{% endfor %}"),
            "[end]");
  EXPECT_EQ(EndOf("{% for m in messages %}{{ m.content }} </s>\n\nmore{% endfor %}"), "</s>");
  EXPECT_EQ(EndOf("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"), "");
  EXPECT_EQ(EndOf("{{ raise_exception('no') }}"), "");
  EXPECT_EQ(EndOf(""), "");
}

}  // namespace
}  // namespace wyvern
