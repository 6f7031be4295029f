#include "trainer/report/report.h"

#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "tests/data/data_fixture.h"
#include "trainer/report/chart.h"
#include "trainer/report/comparison.h"

namespace wyvern {
namespace {

class ReportTest : public DataTest {};

std::string SomeMetrics(int steps) {
  std::string text = "{\"step\": 0, \"tokens\": 0, \"val_loss\": 5.5}\n";
  for (int i = 1; i <= steps; ++i) {
    absl::StrAppendFormat(
        &text,
        "{\"step\": %d, \"tokens\": %d, \"loss\": %.3f, \"lr\": 3e-4, \"grad_norm\": 0.5, "
        "\"tokens_per_s\": 25000, \"mfu\": 0.4125, \"step_ms\": 40, \"peak_bytes\": "
        "3221225472%s}\n",
        i, i * 1000, 5.0 - 2.0 * i / steps, i == steps ? ", \"val_loss\": 2.75" : "");
  }
  return text;
}

void ExpectParts(const std::string& html, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_TRUE(absl::StrContains(html, part)) << "the page lacks " << part;
  }
}

TEST_F(ReportTest, HoldsTheFiguresAndNothingFromOutside) {
  WriteText("metrics.jsonl", SomeMetrics(100));
  ASSERT_TRUE(WriteReport(folder_,
                          {.title = "first light",
                           .facts = {{"Parameters", "374,362,112"}},
                           .config = "model:\n  hidden_size: 1024\n",
                           .sample = "Once upon a time"},
                          Path("report.html"))
                  .ok());
  const std::string html = *ReadFile(Path("report.html"));
  ExpectParts(html, {"first light", "374,362,112", "hidden_size: 1024", "Once upon a time",
                     "2.7500", "\u221250.0% from 5.500",                  // validation loss
                     "100,000",                                           // tokens
                     "25k", "41.2%", "3.00 GiB", "median; 40 ms a step",  // speed and memory
                     "4.0 s", "step  (1,000 tokens each)", "perplexity 15.64", "Learning rate",
                     "Gradient norm", "Throughput", "nats per token"});
  for (const char* outside : {"http:", "https:", "src=", "href=", "@import", "url("}) {
    EXPECT_FALSE(absl::StrContains(html, outside)) << outside;
  }
}

TEST_F(ReportTest, StringsAreEscaped) {
  const std::string evil = "</script><script>alert('\"&\")</script>";
  const auto html = RenderReport(
      SomeMetrics(3), {.title = evil, .facts = {{evil, evil}}, .config = evil, .sample = evil});
  ASSERT_TRUE(html.ok());
  EXPECT_FALSE(absl::StrContains(*html, "alert('"));
  ExpectParts(*html, {"&lt;/script&gt;&lt;script&gt;alert(&#39;&quot;&amp;&quot;)"});
}

TEST_F(ReportTest, MissingFieldsAndTornLinesAreTolerated) {
  const auto html = RenderReport(
      "{\"step\": 1}\n{\"step\": 2, \"loss\": null, \"val_loss\": \"x\"}\nnonsense\n"
      "{\"step\": 3, \"loss\": 4.25, \"skipped\": true}\n{\"step\": 3, \"loss\": 4.125}\n"
      "{\"step\": 4, \"skipped\": true}\n{\"step\": 5, \"lo",
      {.title = "t"});
  ASSERT_TRUE(html.ok()) << html.status();
  ExpectParts(*html, {"4.1250", "2 lines", "1 (loss or gradient was not finite)"});
  EXPECT_FALSE(absl::StrContains(*html, "4.25"));  // the later line of step 3 counts
  EXPECT_FALSE(absl::StrContains(*html, "Learning rate"));
  EXPECT_FALSE(absl::StrContains(*html, "nan"));
  EXPECT_TRUE(absl::IsInvalidArgument(RenderReport("", {}).status()));
  EXPECT_TRUE(absl::IsNotFound(WriteReport(Path("none"), {}, Path("report.html"))));
}

TEST_F(ReportTest, ALongRunStaysSmall) {
  const auto html = RenderReport(SomeMetrics(30000), {.title = "t"});
  ASSERT_TRUE(html.ok());
  EXPECT_LT(html->size(), 600000u);
}

TEST(ReportChart, TicksAreRoundAndInside) {
  EXPECT_EQ(LinearTicks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(LinearTicks(2.9, 4.6, 4), (std::vector<double>{3, 3.5, 4, 4.5}));
  EXPECT_EQ(LinearTicks(0, 8.5, 4), (std::vector<double>{0, 2, 4, 6, 8}));
  EXPECT_EQ(LinearTicks(-3, 3, 4), (std::vector<double>{-2, 0, 2}));
  EXPECT_EQ(LogTicks(0.3, 12), (std::vector<double>{0.5, 1, 2, 5, 10}));
  EXPECT_EQ(LogTicks(1, 100000), (std::vector<double>{1, 10, 100, 1000, 10000, 100000}));
}

// At the ends of the range of doubles, and where neighbouring ticks would be one number.
TEST(ReportChart, TicksAreFewAndFiniteWhateverTheRange) {
  constexpr double kMax = std::numeric_limits<double>::max(), kInf = HUGE_VAL;
  constexpr double kDenormal = std::numeric_limits<double>::denorm_min();
  const double ends[] = {-kInf, -kMax,     -1,   0,    kDenormal, 1e-300, 1, std::nextafter(1, 2),
                         1e17,  1e17 + 64, kMax, kInf, NAN};
  for (const double low : ends) {
    for (const double high : ends) {
      for (const std::vector<double>& ticks :
           {LinearTicks(low, high, 5), LinearTicks(low, high, 1), LogTicks(low, high)}) {
        EXPECT_LE(ticks.size(), 30u) << low << " " << high;
        for (size_t i = 0; i < ticks.size(); ++i) {
          EXPECT_TRUE(std::isfinite(ticks[i]));
          EXPECT_TRUE(i == 0 || ticks[i - 1] < ticks[i]) << low << " " << high;
        }
      }
    }
  }
  EXPECT_GE(LogTicks(1e-300, kMax).size(), 5u);
  EXPECT_GE(LinearTicks(-kMax, kMax, 5).size(), 3u);
  EXPECT_EQ(LogTicks(0, 1), std::vector<double>());
}

TEST(ReportChart, ValuesThatCannotBeDrawnAreLeftOut) {
  for (const bool log : {false, true}) {
    Chart chart{.title = "x", .allow_log = true, .log_log = log};
    chart.series.push_back({.label = "y", .points = {{1, NAN}, {2, 1}, {3, HUGE_VAL}, {4, 1e308}}});
    chart.series.push_back({.label = "z", .points = {{1, 1e-308}, {HUGE_VAL, 2}}});
    const std::string html = RenderChart(chart);
    EXPECT_TRUE(absl::StrContains(html, "<polyline"));
    EXPECT_FALSE(absl::StrContains(html, "nan"));
    EXPECT_FALSE(absl::StrContains(html, "inf"));
  }
  Chart none{.title = "x", .series = {{.label = "y", .points = {{1, HUGE_VAL}}}}};
  EXPECT_FALSE(absl::StrContains(RenderChart(none), "nan"));
}

TEST(ReportChart, TextIsUtf8) { EXPECT_EQ(EscapeHtml("caf\xe9<"), "caf\xef\xbf\xbd&lt;"); }

TEST(ReportChart, NumbersForReaders) {
  EXPECT_EQ(GroupedNumber(999), "999");
  EXPECT_EQ(GroupedNumber(1234567), "1,234,567");
  EXPECT_EQ(GroupedNumber(-123456), "-123,456");
  EXPECT_EQ(ShortNumber(950), "950");
  EXPECT_EQ(ShortNumber(25000), "25k");
  EXPECT_EQ(ShortNumber(999999), "1M");
  EXPECT_EQ(ShortNumber(374362112), "374M");
}

TEST(ReportChart, SpikesSurviveThinning) {
  Chart chart{.title = "x"};
  chart.series.push_back({.label = "y"});
  for (int i = 0; i < 20000; ++i) chart.series[0].points.emplace_back(i, i == 12345 ? 77 : 1);
  const std::string html = RenderChart(chart);
  EXPECT_TRUE(absl::StrContains(html, "[12345.0,77.0]"));
  EXPECT_EQ(RenderChart({.title = "empty"}), "");
}

TEST_F(ReportTest, SetsAndSourcesHaveTheirCurves) {
  const auto html = RenderReport(
      "{\"step\":0,\"tokens\":0,\"val_bits_per_byte\":3.5,\"validation\":{\"web\":{\"loss\":4.5,"
      "\"bits_per_byte\":3.25}}}\n"
      "{\"step\":1,\"tokens\":8,\"loss\":4,\"loss_by_source\":{\"stores/a\":3.75},\"epochs\":"
      "{\"stores/a\":0.5,\"stores/b\":0}}\n",
      {.title = "t"});
  ASSERT_TRUE(html.ok()) << html.status();
  ExpectParts(*html, {"Validation sets", "Bits per byte", "Loss by source", "Epochs", "web",
                      "stores/a", "stores/b", "3.5000 at step 0"});
  const auto without = RenderReport(SomeMetrics(3), {.title = "t"});
  ASSERT_TRUE(without.ok());
  for (const char* absent : {"Validation sets", "Bits per byte", "Loss by source", "Epochs"}) {
    EXPECT_FALSE(absl::StrContains(*without, absent)) << absent;
  }
}

TEST_F(ReportTest, RunsAreComparedOverTheirTokens) {
  const auto page = RenderComparison(
      {{"runs/<one>", SomeMetrics(50)},
       {"runs/two", "{\"step\":1,\"tokens\":2000,\"loss\":4.125,\"elapsed_s\":60}\n"}});
  ASSERT_TRUE(page.ok()) << page.status();
  ExpectParts(*page, {"runs/&lt;one&gt;", "runs/two", "50,000", "2,000", "4.1250", "2.7500",
                      "60.0 s", "Training loss", "Validation loss", "Throughput"});
  EXPECT_FALSE(absl::StrContains(*page, "Validation set "));
  EXPECT_TRUE(absl::StrContains(RenderComparison({{"runs/none", ""}}).status().message(),
                                "runs/none: its metrics"));
}

}  // namespace
}  // namespace wyvern
