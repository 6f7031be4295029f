# Writes OUTPUT, a header whose raw string literal is the text of SOURCE:
#   cmake -DSOURCE=... -DOUTPUT=... -P EmbedText.cmake
file(READ "${SOURCE}" TEXT)
if(TEXT MATCHES "\\)WYVERN\"")
  message(FATAL_ERROR "${SOURCE}: holds the end of the literal that embeds it")
endif()
file(WRITE "${OUTPUT}" "R\"WYVERN(${TEXT})WYVERN\"\n")
