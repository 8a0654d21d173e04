"""From records to what people read: tables and pictures. Reads records only."""
