// The frame of every report.html: style sheet, script, and the page around the content.
#ifndef WYVERN_TRAINER_REPORT_PAGE_H_
#define WYVERN_TRAINER_REPORT_PAGE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

extern const char kReportStyle[];
extern const char kReportScript[];

// Up to the heading and the line below it, both plain text; and from the end of the content on.
std::string PageBegin(absl::string_view title, absl::string_view lead);
std::string PageEnd();

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_PAGE_H_
