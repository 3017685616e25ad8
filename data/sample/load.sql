-- Loads the sample into tables docs and questions of the current database:
--
--     cd data/sample && psql -f load.sql
--
-- The extension must exist (CREATE EXTENSION knn) and the program gzip be at hand.

CREATE TABLE docs (
    id      integer PRIMARY KEY,
    page    text NOT NULL,              -- file name in the manual
    section text NOT NULL,
    text    text NOT NULL,              -- one paragraph
    v       knn_vector(384) NOT NULL    -- its embedding, of unit length
);

CREATE TABLE questions (
    id      integer PRIMARY KEY,
    text    text NOT NULL,
    v       knn_vector(384) NOT NULL
);

-- The vectors stay in the rows, however long the text: an exact search, with which
-- an index is compared, then reads them in one pass.
ALTER TABLE docs ALTER v SET STORAGE PLAIN;

\copy docs from program 'gzip -dc docs.tsv.gz'
\copy questions from program 'gzip -dc questions.tsv.gz'

ANALYZE docs;
ANALYZE questions;
