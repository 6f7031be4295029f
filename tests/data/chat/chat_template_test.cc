#include "data/chat/chat_template.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"

namespace wyvern {
namespace {

using nlohmann::ordered_json;

constexpr char kChatMl[] =
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";

std::unique_ptr<ChatTemplate> Make(const std::string& source,
                                   TrainedTurns turns = TrainedTurns::kAll) {
  ChatOptions options{.source = source,
                      .origin = "chat_template.jinja",
                      .special_tokens = {{"bos_token", "<s>"}},
                      .train_on = turns};
  auto made = ChatTemplate::Make(options);
  EXPECT_TRUE(made.ok()) << made.status();
  return std::move(made).value();
}

std::vector<std::string> Targets(const ChatText& chat) {
  std::vector<std::string> targets;
  for (const auto& [begin, end] : chat.targets)
    targets.push_back(chat.text.substr(begin, end - begin));
  return targets;
}

const auto kTwoTurns = ordered_json::parse(R"({"messages": [
  {"role": "system", "content": "S"}, {"role": "user", "content": "a"},
  {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
  {"role": "assistant", "content": "d"}]})");

TEST(ChatTemplate, TurnsAreWhatFollowsTheGenerationPrompt) {
  const auto chat = Make(kChatMl)->Render(kTwoTurns);
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->text,
            "<|system|>S<|end|>\n<|user|>a<|end|>\n<|assistant|>b<|end|>\n<|user|>c<|end|>\n"
            "<|assistant|>d<|end|>\n");
  EXPECT_EQ(Targets(*chat), (std::vector<std::string>{"b<|end|>\n", "d<|end|>\n"}));
  EXPECT_FALSE(chat->needs_eos);
  const auto last = Make(kChatMl, TrainedTurns::kLast)->Render(kTwoTurns);
  ASSERT_TRUE(last.ok());
  EXPECT_EQ(Targets(*last), (std::vector<std::string>{"d<|end|>\n"}));
}

TEST(ChatTemplate, GenerationBlocksMarkTheTurns) {
  const std::string marked =
      "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<A>{% generation %}"
      "{{ m.content }}</A>{% endgeneration %}{% else %}<U>{{ m.content }}</U>{% endif %}{% endfor "
      "%}";
  const auto chat = Make(marked)->Render(kTwoTurns);
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->text, "<s><U>S</U><U>a</U><A>b</A><U>c</U><A>d</A>");
  EXPECT_EQ(Targets(*chat), (std::vector<std::string>{"b</A>", "d</A>"}));
  const auto last = Make(marked, TrainedTurns::kLast)->Render(kTwoTurns);
  ASSERT_TRUE(last.ok());
  EXPECT_EQ(Targets(*last), (std::vector<std::string>{"d</A>"}));
}

TEST(ChatTemplate, PromptsAreNotLearnt) {
  const auto text = Make("")->Render({{"prompt", "1 + 1 = "}, {"completion", "2"}});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->text, "1 + 1 = 2");
  EXPECT_EQ(Targets(*text), (std::vector<std::string>{"2"}));
  EXPECT_TRUE(text->needs_eos);
  const auto messages = Make(kChatMl)->Render(ordered_json::parse(R"({
    "prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
               {"role": "user", "content": "c"}],
    "completion": [{"role": "assistant", "content": "d"}]})"));
  ASSERT_TRUE(messages.ok()) << messages.status();
  EXPECT_EQ(Targets(*messages), (std::vector<std::string>{"d<|end|>\n"}));
}

// As transformers does: null members are left out, the reasoning has both names, tools keep the
// order of their members.
TEST(ChatTemplate, MessagesAreNormalized) {
  const std::string source =
      "{{ tools|tojson }}{% for m in messages %}[{{ m.tool_calls is defined }}"
      "{{ m.reasoning_content }}{{ m.thinking }}{{ mode }}]{% endfor %}";
  const auto chat =
      Make(source + "{% generation %}x{% endgeneration %}")->Render(ordered_json::parse(R"({
    "messages": [{"role": "assistant", "content": "", "tool_calls": null, "reasoning": "r"}],
    "tools": [{"z": 1, "a": 2}], "chat_template_kwargs": {"mode": "m"}})"));
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->text, "[{\"z\": 1, \"a\": 2}][Falserrm]x");
}

TEST(ChatTemplate, APromptAsksForTheNextTurn) {
  const auto chat = Make(kChatMl);
  const auto prompt = chat->RenderPrompt(
      ordered_json::parse(R"({"messages": [{"role": "user", "content": "a"}]})"));
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(*prompt, "<|user|>a<|end|>\n<|assistant|>");
  EXPECT_EQ(chat->BehindTurn(), "<|end|>\n");
  EXPECT_TRUE(absl::StrContains(chat->RenderPrompt(ordered_json::parse("{}")).status().message(),
                                "expected the member"));
  EXPECT_TRUE(absl::StrContains(Make("")->RenderPrompt(kTwoTurns).status().message(),
                                "messages need a chat template"));
}

TEST(ChatTemplate, OtherFormsGiveTheSameText) {
  const auto chat = Make(kChatMl);
  const std::string expected = chat->Render(kTwoTurns)->text;
  const auto renders = [&](const char* record, const std::string& text) {
    const auto found = chat->Render(ordered_json::parse(record));
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->text, text);
    EXPECT_GE(found->targets.size(), 1u);
  };
  renders(R"({"system": "S", "conversations": [
    {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"},
    {"from": "user", "value": "c", "weight": null}, {"from": "assistant", "value": "d"}]})",
          expected);
  renders(R"({"conversations": [
    {"from": "system", "value": "S"}, {"role": "user", "content": "a"},
    {"from": "bard", "value": "b"}, {"from": "human", "value": "c"},
    {"from": "model", "value": "d"}]})",
          expected);
  renders(R"({"system": "S", "instruction": "c", "output": "d", "history": [["a", "b"]]})",
          expected);
  renders(R"({"instruction": "Add.", "input": "1 + 1", "output": "2"})",
          "<|user|>Add.\n1 + 1<|end|>\n<|assistant|>2<|end|>\n");
  renders(R"({"instruction": "Add.", "input": null, "output": "2", "system": ""})",
          "<|user|>Add.<|end|>\n<|assistant|>2<|end|>\n");
}

TEST(ChatTemplate, WhatCannotBeLearntIsAnError) {
  const auto refuses = [](const std::string& source, const std::string& record,
                          const std::string& what) {
    const auto chat = Make(source)->Render(ordered_json::parse(record));
    ASSERT_FALSE(chat.ok()) << record;
    EXPECT_TRUE(absl::StrContains(chat.status().message(), what)) << chat.status();
  };
  refuses(kChatMl, "[]", "expected an object");
  refuses(kChatMl, R"({"text": "x"})", "expected the member \"messages\"");
  refuses(kChatMl, R"({"messages": "x"})", "expected a list of messages");
  refuses(kChatMl, R"({"messages": [{"content": "x"}]})", "message 0: expected an object");
  refuses(kChatMl, R"({"messages": [{"role": "user", "content": "x"}]})", "no message of the");
  refuses("", R"({"messages": [{"role": "assistant", "content": "x"}]})", "need a chat template");
  // A template that drops what earlier turns thought.
  refuses(
      "{% for m in messages %}<{{ m.role }}>{% if loop.last %}{{ m.thinking }}{% endif %}"
      "{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
      R"({"messages": [{"role": "assistant", "content": "x", "thinking": "t"},
                           {"role": "assistant", "content": "y", "thinking": "t"}]})",
      "message 0: the template writes it otherwise");
}

}  // namespace
}  // namespace wyvern
