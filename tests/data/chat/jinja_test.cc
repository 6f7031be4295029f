#include "data/chat/jinja.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

absl::StatusOr<std::string> Render(const std::string& source, const std::string& variables,
                                   JinjaEnvironment environment = JinjaEnvironment::kChat) {
  const auto parsed = JinjaTemplate::Parse(source, "t", environment);
  if (!parsed.ok()) return parsed.status();
  std::vector<std::pair<std::string, jinja::Value>> values;
  const auto json = nlohmann::ordered_json::parse(variables);
  for (const auto& [name, value] : json.items()) {
    values.emplace_back(name, jinja::Value::FromJson(value));
  }
  const auto rendered = parsed->Render(values);
  if (!rendered.ok()) return rendered.status();
  return rendered->text;
}

constexpr char kVariables[] = R"({
  "n": 3, "f": 2.5, "s": "Hello, Wörld", "q": "it's \"so\"", "l": [3, 1, 2],
  "d": {"b": 1, "a": [true, null, "x"]}, "none_": null,
  "ms": [{"role": "user", "content": "hi"},
         {"role": "assistant", "content": " yo \n", "tool_calls": []}]})";

// The texts are those of Jinja2 3.1.6 in the environment of transformers.
TEST(Jinja, RendersAsJinja2) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n  {% if n %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
      {"a\n  {%- if n -%}\n  b\n  {%- endif %}\nc", "abc"},
      {"x  {%+ if n %}y{% endif +%}\nz", "x  y\nz"},
      {"{# note #}\na{#- b -#}  c", "ac"},
      {"{% raw %}{{ n }}{% endraw %}\nq", "{{ n }}q"},
      {"  {{- n -}}  \n{{ n }}\n\n", "33\n"},
      {"a\r\nb\rc\n", "a\nb\nc"},
      {"{{ l }} {{ d }} {{ q }} {{ [q, s, none, 1.0, 1e20, -0.5] }} {{ (1,) }} {{ () }} {{ true }} "
       "{{ undef }}",
       "[3, 1, 2] {'b': 1, 'a': [True, None, 'x']} it's \"so\" ['it\\'s \"so\"', 'Hello, Wörld', "
       "None, 1.0, 1e+20, -0.5] (1,) () True "},
      {"{{ {'k': (1, 'é')} }}{{ ['\\n\\t\\\\', '\\u200b'] }}",
       "{'k': (1, 'é')}['\\n\\t\\\\', '\\u200b']"},
      {"{{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 123456789.123 }} {{ 5 / 2 }} {{ 4 / 2 "
       "}}",
       "1e+16 1000000000000000.0 0.0001 1e-05 123456789.123 2.5 2.0"},
      {"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // "
       "2 }} {{ -7.5 % 2 }}",
       "3 -4 2 -2 1024 0.5 3.0 0.5"},
      {"{{ 'a' ~ 1 ~ none ~ [2] }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ 1 + 2 * 3 - 4 }}",
       "a1None[2] ababab [1, 2] 3"},
      {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 == true }} {{ [1] == (1,) }} {{ 'a' < 'b' }} "
       "{{ [1, 2] < [1, 3] }}",
       "True False True False True True"},
      {"{{ 'x' in d }} {{ 'a' in d }} {{ 2 in l }} {{ 9 not in l }} {{ 'Wö' in s }}",
       "False True True True True"},
      {"{{ n and s }} {{ 0 or 'z' }} {{ not l }} {{ 'y' if n > 2 else 'n' }} {{ 'y' if n > 5 }}|",
       "Hello, Wörld z False y |"},
      {"{{ -n|abs }} {{ -2 ** 2 }} {{ not n == 3 }}", "3 4 False"},
      {"{{ l[0] }} {{ l[-1] }} {{ l[7] }} {{ s[1] }} {{ s[-4] }} {{ s[7:] }} {{ s[::-1] }} {{ "
       "l[1:] }} {{ l[:-1] }} {{ l[::2] }} {{ l[5:1:-1] }}",
       "3 2  e ö Wörld dlröW ,olleH [1, 2] [3, 1] [3, 2] [2]"},
      {"{{ d.b }} {{ d['a'][2] }} {{ d.none }} {{ ms[0].role }} {{ ms|length }} {{ "
       "ms[-1]['content'] }}",
       "1 x  user 2  yo \n"},
      {"{{ d.get('b') }} {{ d.get('z') }} {{ d.get('z', 4) }} {{ d.keys() }} {{ d.items()|list }} "
       "{{ d.values() }}",
       "1 None 4 dict_keys(['b', 'a']) [('b', 1), ('a', [True, None, 'x'])] dict_values([1, [True, "
       "None, 'x']])"},
      {"{{ ' a b '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'a,b,,c'.split(',') }}|{{ ' a  b "
       "'.split() }}|{{ 'a b c'.split(' ', 1) }}|{{ 'a.b.c'.rsplit('.', 1) }}",
       "a b|a|['a', 'b', '', 'c']|['a', 'b']|['a', 'b c']|['a.b', 'c']"},
      {"{{ s.startswith('He') }} {{ s.endswith(('x', 'ld')) }} {{ s.replace('l', 'L', 1) }} {{ "
       "s.find('W') }} {{ s.find('z') }} {{ 'hello'.upper() }} {{ 'hello world'.title() }} {{ "
       "'ABC'.lower() }} {{ 'aBC'.capitalize() }}",
       "True True HeLlo, Wörld 7 -1 HELLO Hello World abc Abc"},
      {"{{ 'a\\nb\\r\\nc'.splitlines() }} {{ '-'.join(['a', 'b']) }} {{ 'abab'.count('ab') }} {{ "
       "'abc'.removeprefix('a').removesuffix('c') }} {{ '12'.isdigit() }}",
       "['a', 'b', 'c'] a-b 2 b True"},
      {"{{ ' x '|trim }}|{{ l|join(', ') }}|{{ l|sort }}|{{ l|sort(reverse=true) }}|{{ l|first "
       "}}{{ l|last }}|{{ l|sum }}|{{ l|max }}{{ l|min }}|{{ []|first }}",
       "x|3, 1, 2|[1, 2, 3]|[3, 2, 1]|32|6|31|"},
      {"{{ ms|map(attribute='role')|join(' ') }} {{ ms|selectattr('role', 'equalto', "
       "'user')|list|length }} {{ ms|rejectattr('tool_calls', "
       "'defined')|map(attribute='content')|first }}",
       "user assistant 1 hi"},
      {"{{ l|select('gt', 1)|list }} {{ l|reject('odd')|list }} {{ ['a', 'B', 'A']|unique|list }} "
       "{{ ['b', 'A']|sort }} {{ d|dictsort }} {{ d|items|list }}",
       "[3, 2] [2] ['a', 'B'] ['A', 'b'] [('a', [True, None, 'x']), ('b', 1)] [('b', 1), ('a', "
       "[True, None, 'x'])]"},
      {"{{ d|tojson }} {{ d|tojson(indent=2) }} {{ s|tojson }} {{ s|tojson(ensure_ascii=true) }} "
       "{{ d|tojson(sort_keys=true, separators=(',', ':')) }} {{ [1.0, none]|tojson }} {{ "
       "[]|tojson(indent=4) }}",
       "{\"b\": 1, \"a\": [true, null, \"x\"]} {\n  \"b\": 1,\n  \"a\": [\n    true,\n    null,\n  "
       "  \"x\"\n  ]\n} \"Hello, Wörld\" \"Hello, W\\u00f6rld\" {\"a\":[true,null,\"x\"],\"b\":1} "
       "[1.0, null] []"},
      {"{{ undef|default('D') }} {{ ''|default('E') }} {{ ''|default('F', true) }} {{ "
       "none_|default('G') }}",
       "D  F None"},
      {"{{ '12'|int }} {{ '3.9'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ '2.5'|float }} {{ "
       "2.567|round(1) }} {{ 2.5|round }} {{ 7|string ~ '' }} {{ 2.1|round(method='ceil') }}",
       "12 3 0 7 2.5 2.6 2.0 7 3.0"},
      {"{{ 'a\\nb\\n\\nc'|indent(2) }}|{{ 'a\\nb'|indent(1, true) }}|{{ 'a-b'|title }} {{ "
       "'abc'|reverse }} {{ l|reverse|list }} {{ 'a'|list }}",
       "a\n  b\n\n  c| a\n b|A-B cba [2, 1, 3] ['a']"},
      {"{{ n is defined }} {{ undef is defined }} {{ none_ is none }} {{ s is string }} {{ l is "
       "iterable }} {{ d is mapping }} {{ l is sequence }} {{ f is number }} {{ true is integer }} "
       "{{ n is odd }} {{ n is divisibleby 3 }} {{ n is eq 3 }} {{ n is in [3] }} {{ false is "
       "false }} {{ 1 is true }} {{ n is not none and true }}",
       "True False True True True True True True False True True True True True False True"},
      {"{% for m in ms %}{{ loop.index }}/{{ loop.length }}{{ m.role }}{% if not loop.last %},{% "
       "endif %}{% endfor %}",
       "1/2user,2/2assistant"},
      {"{% for k, v in d.items() %}{{ k }}={{ v }};{% else %}none{% endfor %}{% for x in [] %}{% "
       "else %}empty{% endfor %}",
       "b=1;a=[True, None, 'x'];empty"},
      {"{% for x in l if x > 1 %}{{ x }}{{ loop.first }}{% endfor %}", "3True2False"},
      {"{% for x in range(5) %}{% if x == 1 %}{% continue %}{% elif x == 3 %}{% break %}{% endif "
       "%}{{ x }}{% endfor %}",
       "02"},
      {"{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.cycle('o', 'e') "
       "}}{{ loop.revindex }}{% endfor %}",
       "<3>1o33<1>2e21<2>o1"},
      {"{% set x = 1 %}{% for y in l %}{% set x = y %}{{ x }}{% endfor %}{{ x }}", "3121"},
      {"{% set ns = namespace(x=0, y='') %}{% for y in l %}{% set ns.x = ns.x + y %}{% set ns.z = "
       "y %}{% endfor %}{{ ns.x }}{{ ns.z }}{{ ns.w }}",
       "62"},
      {"{% set a, b = (1, 2) %}{{ a }}{{ b }}{% set c %}[{{ n }}]{% endset %}{{ c|length }}",
       "123"},
      {"{% macro m(a, b='B', c=none) %}<{{ a }}{{ b }}{{ c }}>{% endmacro %}{{ m('x') }}{{ m('x', "
       "c=1) }}{{ m() }}{{ m(b='q', a=2) }}",
       "<xBNone><xB1><BNone><2qNone>"},
      {"{% macro f(k) %}{{ k if k == 0 else k ~ f(k - 1) }}{% endmacro %}{{ f(4) }}", "43210"},
      {"{{ 'a' 'b' }} {{ '\\x41\\u00e9\\U0001f600' }} {{ '\\q' }}", "ab Aé😀 \\q"},
      {"{% if n == 3 and (s or undef) %}1{% elif n %}2{% else %}3{% endif %}", "1"},
      {"{% for m in ms %}{{ '<|' + m['role'] + '|>\\n' + m['content'] | trim + '<|end|>\\n' }}{% "
       "endfor %}",
       "<|user|>\nhi<|end|>\n<|assistant|>\nyo<|end|>\n"},
  };
  for (const auto& [source, expected] : cases) {
    const auto text = Render(source, kVariables);
    ASSERT_TRUE(text.ok()) << source << ": " << text.status();
    EXPECT_EQ(*text, expected) << source;
  }
}

TEST(Jinja, WhatFailsIsNamedWithItsLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n{{ undef.x }}", "t:2: 'undef' is undefined"},
      {"{{ l.foo.bar }}", "t:1: list object has no attribute 'foo'"},
      {"{{ s + 1 }}", "'+' is not defined for str and int"},
      {"{{ s + undef }}", "'undef' is undefined"},
      {"{{ raise_exception('no ' ~ n) }}", "t:1: the template refuses: no 3"},
      {"{{ l.append(1) }}", "'append' changes its object"},
      {"{{ n() }}", "a value of type int cannot be called"},
      {"{{ s|foo }}", "the filter 'foo' is not supported"},
      {"{{ s is foo }}", "the test 'foo' is not supported"},
      {"{{ 'é'|upper }}", "ASCII only"},
      {"{{ '%s' % n }}", "formatting with % is not supported"},
      {"{{ 1 // 0 }}", "division by zero"},
      {"{{ 9223372036854775807 + 1 }}", "too large"},
      {"{% for x in n %}{% endfor %}", "a value of type int cannot be gone through"},
      {"{% set a, b = l %}", "expected 2 values to assign, got 3"},
      {"{% set d.x = 1 %}", "it is no namespace"},
      {"{{ range(1000000) }}", "more than 100000 elements"},
      {"{{ l|map('string') }}", "write |list behind it"},
      {"{{ 'a' * 100000000 }}", "too large"},
      {"{% if n %}", "expected {% endif %} before the template's end"},
      {"\n{% endif %}", "t:2: the statement 'endif' is not supported"},
      {"{% include 'x' %}", "the statement 'include' is not supported"},
      {"{% break %}", "break is outside a loop"},
      {"{{ n", "expected '}}' before the end"},
      {"{{ 'a }}", "the string does not end"},
      {"{{ (n }}", "unexpected '}'"},
      {"{{ n] }}", "unexpected ']'"},
      {"{# x", "the comment does not end"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "more than 100 levels deep"},
      {"{% set c = namespace(t='ab') %}{% for i in range(40) %}{% set c.t = c.t ~ c.t %}"
       "{% endfor %}",
       "more than 64 MiB"},
      {"{% for a in range(5000) %}{% for b in range(5000) %}{% endfor %}{% endfor %}",
       "more than 2000000 steps"},
  };
  for (const auto& [source, expected] : cases) {
    const auto text = Render(source, kVariables);
    ASSERT_FALSE(text.ok()) << source << ": " << *text;
    EXPECT_TRUE(absl::StrContains(text.status().message(), expected))
        << source << ": " << text.status();
  }
}

// The texts and errors are those of Jinja2 3.1.6 in the environment of lm-eval.
TEST(Jinja, TasksKeepWhiteSpaceAndRefuseWhatIsUndefined) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n  {% if n %}\n  b\n  {% endif %}\nc\n", "a\n  \n  b\n  \nc\n"},
      {"x {%- if n %} y{% endif -%} \nz", "x yz"},
      {"{{ u is defined }} {{ u|default('d') }}\n", "False d\n"},
      {"{% raw %}{{ n }}{% endraw %}\n", "{{ n }}\n"},
      {"{# c #}\nq", "\nq"},
      {"{{ l.index(2) }}{{ 1 if false }}", "2"}};
  for (const auto& [source, expected] : cases) {
    const auto text = Render(source, kVariables, JinjaEnvironment::kTask);
    ASSERT_TRUE(text.ok()) << source << ": " << text.status();
    EXPECT_EQ(*text, expected) << source;
  }
  for (const char* source : {"{{ u }}", "{% if u %}{% endif %}", "{% for x in u %}{% endfor %}",
                             "{{ u == 1 }}", "{{ 1 == u }}", "{{ u|length }}", "{{ n ~ u }}",
                             "{{ u or 1 }}", "{{ not u }}", "{{ u is string }}"}) {
    const auto text = Render(source, kVariables, JinjaEnvironment::kTask);
    EXPECT_EQ(text.status().message(), "t:1: 'u' is undefined") << source;
  }
  EXPECT_EQ(Render("{{ d.z }}", kVariables, JinjaEnvironment::kTask).status().message(),
            "t:1: dict object has no attribute 'z'");
}

TEST(Jinja, DeepNestingIsAnErrorAndNoOverflow) {
  for (const char* part : {"(", "[", "-", "not ", "{'a': ", "x[", "f("}) {
    std::string source = "{{ ";
    for (int i = 0; i < 100000; ++i) source += part;
    EXPECT_FALSE(Render(source, "{}").ok()) << part;
  }
  std::string blocks, sum = "{{ 1";
  for (int i = 0; i < 100000; ++i) {
    blocks += "{% if 1 %}";
    sum += "+1";
  }
  EXPECT_FALSE(Render(blocks, "{}").ok());
  EXPECT_FALSE(Render(sum + " }}", "{}").ok());
}

TEST(Jinja, GenerationsAreRangesOfTheText) {
  const auto parsed = JinjaTemplate::Parse(
      "{% for x in l %}<{% generation %}{{ x }}{% set y = 1 %}{% endgeneration %}{{ y }}>"
      "{% endfor %}",
      "t");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->has_generation());
  const auto text = parsed->Render({{"l", jinja::Value::FromJson({"ab", "é", ""})}});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->text, "<ab><é><>");
  const std::vector<std::pair<size_t, size_t>> expected = {{1, 3}, {5, 7}, {9, 9}};
  EXPECT_EQ(text->generations, expected);
}

}  // namespace
}  // namespace wyvern
